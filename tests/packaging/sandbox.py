# SPDX-License-Identifier: Apache-2.0
"""Runs a service unit of packaging/systemd without systemd, as far as that can be done: as its user, with its
capabilities, its view of the file system and its filter of system calls.

    python sandbox.py UNIT PROGRAMS [NAME=VALUE...]

To be run by root, in a mount namespace made for it in which /run and /var/lib are nobody else's and /etc/passwd has
the unit's user. PROGRAMS is the folder that stands for /opt/hvchannel/bin, NAME=VALUE the unit's environment file. Not
done: IPAddressDeny= (a cgroup's), RestrictRealtime=, RestrictSUIDSGID=, LockPersonality=, RemoveIPC=, ProtectClock=,
ProtectHostname= and ProtectKernelLogs= (beyond their system calls).
"""

import ctypes
import errno
import grp
import json
import os
import pwd
import shlex
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Settings = dict[str, list[str]]

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS = 0x20000
_ALLOW, _KILL_NO, _ERRNO = 0x7FFF0000, 0, 0x00050000  # seccomp(2)
_MASKED_EQ, _NE, _EQ = 7, 1, 4  # seccomp.h
_PROT_WRITE, _PROT_EXEC = 2, 4


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def read_unit(path: Path) -> Settings:
    """The [Service] section; of a setting that is given several times, all values."""
    settings: Settings = defaultdict(list)
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            settings[name].append(value)
    return settings


def environment(settings: Settings, given: Iterable[str]) -> dict[str, str]:
    words = [word for line in settings["Environment"] for word in shlex.split(line)]
    return dict(word.split("=", 1) for word in (*words, *given))


def command_line(line: str, variables: dict[str, str]) -> list[str]:
    """By systemd.service(5): a word `$NAME` becomes as many words as the value has."""
    words: list[str] = []
    for word in shlex.split(line):
        if word.startswith("$"):
            words += variables.get(word[1:], "").split()
        else:
            words.append(word)
    return words


def system_calls(settings: Settings) -> set[str]:
    groups = _groups()
    allowed = _calls(groups, "@default")
    for line in settings["SystemCallFilter"]:
        for word in line.removeprefix("~").split():
            calls = _calls(groups, word)
            allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def _groups() -> dict[str, list[str]]:
    """systemd's own sets of calls, of calls and other sets."""
    command = ["systemd-analyze", "syscall-filter", "--no-pager"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    groups: dict[str, list[str]] = {}
    for line in listing.splitlines():
        if line.startswith("@"):
            members = groups[line.strip()] = []
        elif line.startswith("    ") and not line.strip().startswith("#"):
            members.append(line.strip())
        elif line.startswith("#"):
            break  # what the kernel has beside these
    return groups


def _calls(groups: dict[str, list[str]], name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    return {call for member in groups[name] for call in _calls(groups, member)}


# --- as root


def enclose(settings: Settings, keep: list[Path]) -> None:
    """The unit's view of the file system. `keep`: folders that stay to be seen, wherever they are."""
    if _libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    _mount("--make-rprivate", "/")
    uid, gid = pwd.getpwnam(settings["User"][0]).pw_uid, grp.getgrnam(settings["Group"][0]).gr_gid
    named = [path for line in settings["ReadWritePaths"] for path in line.split()]
    may_lack = [Path(path[1:]) for path in named if path.startswith("-")]
    writable = [Path(path) for path in named if not path.startswith("-")]
    writable += [path for path in may_lack if path.exists()]
    for setting, root in (("RuntimeDirectory", "/run"), ("StateDirectory", "/var/lib")):
        mode = int((settings[f"{setting}Mode"] or ["0755"])[0], 8)
        for name in " ".join(settings[setting]).split():
            path = Path(root, name)
            path.mkdir(exist_ok=True)
            os.chown(path, uid, gid)
            path.chmod(mode)
            writable.append(path)
    for path in writable:
        _mount("--bind", path, path)
    kept = Path("/run/.kept")
    for number, path in enumerate(keep):
        (kept / str(number)).mkdir(parents=True, exist_ok=True)
        _mount("--bind", path, kept / str(number))
    assert settings["ProtectHome"] == settings["PrivateTmp"] == settings["PrivateDevices"] == ["yes"]
    for hidden in ("/home", "/root", "/tmp", "/var/tmp"):
        _mount("-t", "tmpfs", "-o", "mode=1777" if "tmp" in hidden else "mode=0755", "none", hidden)
    for number, path in enumerate(keep):
        path.mkdir(parents=True, exist_ok=True)
        _mount("--bind", kept / str(number), path)
    _private_devices()
    assert settings["ProtectSystem"] == ["strict"]
    assert settings["ProtectKernelTunables"] == settings["ProtectControlGroups"] == ["yes"]
    assert settings["ProtectProc"] == ["invisible"]
    _mount("-t", "proc", "-o", "hidepid=invisible", "proc", "/proc")
    _mount("--bind", "/proc/sys", "/proc/sys")
    apart = (*writable, Path("/proc"), Path("/dev"), Path("/tmp"), Path("/var/tmp"))
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(line.split()[4].encode().decode("unicode_escape"))
        own = next((path for path in apart if point.is_relative_to(path)), None)
        if own is None or point.is_relative_to("/proc/sys"):
            subprocess.run(["mount", "-o", "remount,bind,ro", point], check=False, stderr=subprocess.DEVNULL)


def _private_devices() -> None:
    devices = ("null", "zero", "full", "random", "urandom", "tty")
    fresh = Path("/run/.dev")
    fresh.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", "mode=0755", "none", fresh)
    for name in devices:
        (fresh / name).touch()
        _mount("--bind", f"/dev/{name}", fresh / name)
    _mount("--move", fresh, "/dev")


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def as_its_user(settings: Settings) -> list[str]:
    """The command before the command: setpriv(1)."""
    names = " ".join(settings["CapabilityBoundingSet"]).split()
    ambient = " ".join(settings["AmbientCapabilities"]).split()
    assert ambient == names
    listed = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in names)])
    groups = " ".join(settings["SupplementaryGroups"]).split()
    return [
        "setpriv",
        *("--reuid", settings["User"][0], "--regid", settings["Group"][0]),
        *(["--groups", ",".join(groups)] if groups else ["--clear-groups"]),
        *(f"--bounding-set={listed}", f"--inh-caps={listed}", f"--ambient-caps={listed}"),
        "--no-new-privs",
    ]


# --- as its user


def filter_calls(calls: list[str], families: list[str]) -> None:
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_ERRNO | errno.EPERM)))

    def rule(action: int, name: str, *comparisons: Comparison) -> None:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return  # of another architecture
        array = (Comparison * max(len(comparisons), 1))(*comparisons)
        code = seccomp.seccomp_rule_add_array(context, action, number, len(comparisons), array)
        assert code == 0, (name, code)

    special = {"socket", "mmap", "mprotect", "pkey_mprotect", "unshare", "setns"}
    for name in sorted({*calls, "execve"} - special):
        rule(_ALLOW, name)
    for family in families:
        rule(_ALLOW, "socket", Comparison(0, _EQ, getattr(socket, family), 0))
    both = _PROT_WRITE | _PROT_EXEC  # MemoryDenyWriteExecute
    for bits in (0, _PROT_WRITE, _PROT_EXEC):
        rule(_ALLOW, "mmap", Comparison(2, _MASKED_EQ, both, bits))
    for name in ("mprotect", "pkey_mprotect"):
        rule(_ALLOW, name, Comparison(2, _MASKED_EQ, _PROT_EXEC, 0))
    assert seccomp.seccomp_load(context) == 0


def main() -> None:
    if sys.argv[1] == "filtered":
        plan: Any = json.loads(sys.argv[2])
        os.umask(int(plan["umask"], 8))
        filter_calls(plan["calls"], plan["families"])
        os.execve(plan["command"][0], plan["command"], os.environ)
    unit, programs, *given = sys.argv[1:]
    settings = read_unit(Path(unit))
    variables = environment(settings, given)
    for line in settings["ExecStartPre"]:
        assert line.lstrip("-").startswith("+"), "as root"
        command = shlex.split(line.lstrip("-+"))
        done = subprocess.run(command, env=os.environ | variables, check=False)
        assert done.returncode == 0 or line.startswith("-"), line
    (start,) = settings["ExecStart"]
    command = command_line(start.replace("/opt/hvchannel/bin", programs), variables)
    calls = sorted(system_calls(settings))
    families = " ".join(settings["RestrictAddressFamilies"]).split()
    here = Path(__file__).resolve()
    enclose(settings, [here.parents[2], Path(sys.base_prefix), Path(programs).parent])
    plan = {"calls": calls, "families": families, "command": command, "umask": settings["UMask"][0]}
    filtered = [*as_its_user(settings), sys.executable, str(here), "filtered", json.dumps(plan)]
    os.chdir("/")
    clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"} | variables
    os.execvpe(filtered[0], filtered, clean)


if __name__ == "__main__":
    main()
