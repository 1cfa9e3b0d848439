# SPDX-License-Identifier: Apache-2.0
"""Where no systemd runs: `systemctl enable --now` and `restart` of what unit files say. As their users, with
their capabilities; no sandbox, no restarts.

It starts the commands of ExecStartPre and ExecStart, with the unit's environment, after making its folders.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

UNITS = Path("/etc/systemd/system")
_FOLDERS = {"RuntimeDirectory": Path("/run"), "StateDirectory": Path("/var/lib")}


def read(unit: Path) -> dict[str, list[str]]:
    """The values of each key, in order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def environment(unit: dict[str, list[str]]) -> dict[str, str]:
    """Environment and EnvironmentFile, which comes later."""
    words = [word for line in unit.get("Environment", []) for word in shlex.split(line)]
    for name in unit.get("EnvironmentFile", []):
        file = Path(name.removeprefix("-"))
        if file.exists():
            words += [
                line for line in file.read_text().splitlines() if "=" in line and not line.startswith("#")
            ]
    return dict(word.split("=", 1) for word in words)


def words(command: str, variables: dict[str, str]) -> list[str]:
    """A command line; $NAME as a word of its own becomes as many words as it has, as systemd does."""
    found: list[str] = []
    for word in shlex.split(command.lstrip("+-!@")):
        whole = re.fullmatch(r"\$(\w+)", word)
        found += shlex.split(variables.get(whole[1], "")) if whole else [word]
    return found


def as_user(unit: dict[str, list[str]]) -> list[str]:
    """What runs a command as the unit's user, with its groups and capabilities."""
    if "User" not in unit:
        return []
    (user,), (group,) = unit["User"], unit["Group"]
    groups = ",".join([group, *" ".join(unit.get("SupplementaryGroups", [])).split()])
    found = ["setpriv", "--reuid", user, "--regid", group, "--groups", groups]
    if capabilities := " ".join(unit.get("AmbientCapabilities", [])).lower().split():
        which = ",".join(f"+{name.removeprefix('cap_')}" for name in capabilities)
        found += ["--inh-caps", which, "--ambient-caps", which]
    return found


def start(name: str) -> None:
    unit = read(UNITS / f"{name}.service")
    for key, base in _FOLDERS.items():
        for folder in " ".join(unit.get(key, [])).split():
            (base / folder).mkdir(mode=0o750, exist_ok=True)
            user, group = (unit.get(who, [None])[0] for who in ("User", "Group"))
            if user or group:
                shutil.chown(base / folder, user, group)
    own = environment(unit)
    everything = {**os.environ, **own}
    for command in unit.get("ExecStartPre", []):
        subprocess.run(words(command, own), env=everything, check=not command.startswith("-"))
    (command,) = unit["ExecStart"]
    if unit.get("Type") == ["oneshot"]:
        subprocess.run(words(command, own), env=everything, check=True)
        return
    argv = [*as_user(unit), *words(command, own)]
    with Path(f"/var/log/{name}.log").open("w") as log:
        subprocess.Popen(argv, env=everything, stdout=log, stderr=log, start_new_session=True, umask=0o077)


def main() -> None:
    arguments = [word for word in sys.argv[1:] if word != "--now"]
    if arguments == ["restart", "libvirtd"]:
        with Path("/var/log/libvirtd.log").open("w") as log:
            subprocess.Popen(["libvirtd"], stdout=log, stderr=log, start_new_session=True)
        return
    verb, *names = arguments
    assert verb == "enable", arguments
    for name in names:
        start(name)


if __name__ == "__main__":
    main()
