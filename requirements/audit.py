# SPDX-License-Identifier: Apache-2.0
"""Known vulnerabilities in the packages that the lock files name, by pip-audit.

    python requirements/audit.py PIP-AUDIT LOCK-FILE...

Exit code 0: none, or none that audit_ignored.toml does not give a reason for; also when the service that knows
vulnerabilities cannot be asked, or does not know the packages, which is said in words: no reason to stop a build. 1:
there are some. 2: it could not be tried.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

IGNORED = Path(__file__).with_name("audit_ignored.toml")


@dataclass(frozen=True)
class Found:
    """`skipped`: packages of which the service knows nothing."""

    audited: int
    skipped: list[str]
    vulnerabilities: list[tuple[str, str, str, str]]  # id, package, its version, versions that are mended


class NotAskedError(Exception):
    """The service cannot be reached; the message says why."""


def audit(program: str, lock_file: Path) -> Found:
    """Raises NotAskedError, OSError."""
    command = [program, "--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    ended = subprocess.run(
        [*command, "--requirement", str(lock_file)], capture_output=True, text=True, check=False
    )
    try:
        dependencies = json.loads(ended.stdout)["dependencies"]
    except (ValueError, KeyError):
        said = ended.stderr.strip().splitlines() or [f"{program} ended with {ended.returncode}"]
        raise NotAskedError(said[-1][:300]) from None
    return Found(
        audited=sum("vulns" in one for one in dependencies),
        skipped=[one["name"] for one in dependencies if "vulns" not in one],
        vulnerabilities=[
            (vulnerability["id"], one["name"], one["version"], ", ".join(vulnerability["fix_versions"]))
            for one in dependencies
            for vulnerability in one.get("vulns", [])
        ],
    )


def main(arguments: list[str]) -> int:
    """See above."""
    if len(arguments) < 2:
        print("usage: audit.py PIP-AUDIT LOCK-FILE...", file=sys.stderr)
        return 2
    ignored: dict[str, str] = tomllib.loads(IGNORED.read_text())
    program, bad = arguments[0], 0
    for lock_file in map(Path, arguments[1:]):
        try:
            found = audit(program, lock_file)
        except NotAskedError as error:
            print(f"audit: {lock_file}: NOT AUDITED, the service does not answer: {error}")
            continue
        except OSError as error:
            print(f"audit: {program}: {error.strerror}", file=sys.stderr)
            return 2
        for name, package, version, mended in found.vulnerabilities:
            if name in ignored:
                print(f"audit: {lock_file}: {name} of {package} {version} is passed over: {ignored[name]}")
                continue
            bad += 1
            remedy = f"mended in {mended}" if mended else "not mended yet"
            print(f"audit: {lock_file}: {package} {version} has {name} ({remedy})", file=sys.stderr)
        if not found.audited:
            print(
                f"audit: {lock_file}: NOT AUDITED, the service knows none of its {len(found.skipped)} packages"
            )
        else:
            without = f"; it does not know {', '.join(found.skipped)}" if found.skipped else ""
            print(f"audit: {lock_file}: {found.audited} packages looked up{without}")
    if bad:
        print(
            f"audit: update what is named above (make lock), or give the reason for leaving it in {IGNORED.name}",
            file=sys.stderr,
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
