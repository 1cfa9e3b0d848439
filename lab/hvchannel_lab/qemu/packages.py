# SPDX-License-Identifier: Apache-2.0
"""Debian packages for a guest: downloaded by apt, which checks them, and unpacked, never installed on this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_KERNEL = "linux-image-cloud-amd64"
_WITHIN = 600.0  # seconds for any one command
_BOUNDED = (
    *("-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20"),
    *("-o", "APT::Sandbox::User=root"),
)
"""An archive that does not answer is a failure within a minute, and no wait without an end."""
_USERLAND = (
    f"python{sys.version_info[0]}.{sys.version_info[1]}",
    "busybox-static",
    "libstdc++6",
    "kmod",
    "iproute2",
)


class ImageError(RuntimeError):
    """A guest's image cannot be made; the message says what was wanted, and what would be right."""


@dataclass(frozen=True)
class Packages:
    """What a guest is made of. `kernel` and `files` are .deb file names; `release`: the kernel's `uname -r`."""

    release: str
    kernel: str
    files: tuple[str, ...]


def wanted() -> Packages:
    """The newest that apt knows: Debian's cloud kernel, and Python with all it needs. Raises ImageError."""
    try:
        return _wanted()
    except ImageError:
        apt("update", "-qq")  # a machine whose lists are not there yet, as in a fresh container
        return _wanted()


def _wanted() -> Packages:
    depends = _output("apt-cache", "depends", _KERNEL)
    found = re.search(r"Depends: linux-image-(\S+-cloud-amd64)$", depends, re.MULTILINE)
    if found is None:
        raise ImageError(
            f"apt knows no {_KERNEL}; a Debian archive for amd64 in /etc/apt/sources.list is right"
        )
    release = found[1]
    kernel = _files(_output("apt-get", "download", "--print-uris", f"linux-image-{release}"))
    # Of packages that are installed or in its cache apt would say nothing: it is shown neither.
    with tempfile.TemporaryDirectory(prefix="hvchannel-apt-") as empty:
        (Path(empty) / "partial").mkdir()
        plan = _output(
            *("apt-get", "-o", "Dir::State::status=/dev/null", "-o", f"Dir::Cache::archives={empty}"),
            *("install", "--print-uris", "--yes", "-qq", "--no-install-recommends", *_USERLAND),
        )
    return Packages(release, kernel[0], tuple(sorted(_files(plan))))


def fetch(packages: Packages, into: Path) -> list[Path]:
    """The .deb files, downloaded where they are not there yet; the kernel's first. Raises ImageError."""
    into.mkdir(parents=True, exist_ok=True)
    names = (packages.kernel, *packages.files)
    missing = [name.split("_")[:2] for name in names if not (into / name).exists()]
    if missing:  # apt checks signatures and hashes
        with tempfile.TemporaryDirectory(prefix=".download-", dir=into) as partial:
            apt(
                "download",
                "-qq",
                *(f"{name}={version.replace('%3a', ':')}" for name, version in missing),
                cwd=Path(partial),
            )
            for deb in Path(
                partial
            ).iterdir():  # whole: a download that was cut off leaves nothing that looks so
                deb.replace(into / deb.name)
    if absent := [name for name in names if not (into / name).exists()]:
        raise ImageError(f"apt-get download: did not bring {', '.join(absent)}; apt-get update, and again")
    return [into / name for name in names]


def unpack(deb: Path, into: Path) -> None:
    """Raises ImageError."""
    _output("dpkg-deb", "--extract", str(deb), str(into))


def apt(*words: str, cwd: Path | None = None) -> None:
    """Raises ImageError with apt's own last line."""
    _output("apt-get", *_BOUNDED, *words, cwd=cwd)


def _output(*command: str, cwd: Path | None = None) -> str:
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=cwd, env=environment, timeout=_WITHIN
        )
    except subprocess.TimeoutExpired:
        raise ImageError(f"{_short(command)}: did not end within {_WITHIN:g} s") from None
    except FileNotFoundError:
        raise ImageError(
            f"program {command[0]!r}: not on PATH; guests are made from Debian packages, on Debian"
        ) from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no word of why"])[-1]
        raise ImageError(f"{_short(command)}: {said}")
    return done.stdout


def _short(command: tuple[str, ...]) -> str:
    """Without options, which all have their values beside them; not all packages."""
    words = [
        word
        for before, word in zip(("", *command), command, strict=False)
        if not word.startswith("-") and before != "-o"
    ]
    return " ".join(words[:4])


def _files(uris: str) -> list[str]:
    return [line.split()[1] for line in uris.splitlines() if line.startswith("'")]
