# SPDX-License-Identifier: Apache-2.0
"""The image that all guests of a lab start from: a kernel, an initramfs with its drivers, a root file system.

Made of Debian packages, the project's own wheel, and the distributions that the wheel needs as they are installed here
(from the lock file). The root and the wheel are ext4 files that guests mount read-only. Kept in a cache, in folders
named by a hash of all that went in; nothing of one guest is in them.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from hvchannel_lab.qemu import initramfs
from hvchannel_lab.qemu.packages import ImageError, Packages, fetch, unpack, wanted

_PROJECT = "hvchannel"
_FORMAT = "2"  # of the image; another one makes a new folder
_PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
_SITE = f"usr/local/lib/{_PYTHON}/dist-packages"
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")
_SPARE = 32  # MiB beside what the files need: ext4's own
_MOUNT_POINTS = ("proc", "sys", "dev", "run", "tmp", "state", "root", "etc", "opt/hvchannel")
_UNWANTED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian")


@dataclass(frozen=True)
class Image:
    """Where its parts are; `release` is the kernel's."""

    release: str
    kernel: Path
    initramfs: Path
    root: Path
    project: Path


def cache() -> Path:
    """HVCHANNEL_CACHE, else as the XDG base directories have it."""
    if own := os.environ.get("HVCHANNEL_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hvchannel"


def image(step: Callable[[str], None] = lambda text: None) -> Image:
    """The one for this installation and the packages that apt knows now, made if the cache has none. `step` is called
    with what is being done. Blocks, for about a minute at the first time. Raises ImageError, OSError."""
    step("guest image: asking apt for its packages")
    packages = wanted()
    with tempfile.TemporaryDirectory(prefix="hvchannel-wheel-") as folder:
        wheel = _wheel(Path(folder))
        project = _cached("project", [hashlib.sha256(wheel.read_bytes()).hexdigest()], step, _Project(wheel))
    versions = sorted(f"{one.metadata['Name']} {one.version}" for one in _needed(_PROJECT))
    contents = [packages.release, packages.kernel, *packages.files, *versions]
    base = _cached("base", contents, step, _Base(packages))
    return Image(
        *(packages.release, base / "vmlinuz", base / "initramfs", base / "root.ext4"),
        project / "project.ext4",
    )


class _Part(Protocol):
    """Of an image: what makes it, in a folder that is there and empty."""

    def make(self, folder: Path, step: Callable[[str], None]) -> None:
        """Raises ImageError, OSError."""


def _cached(kind: str, contents: list[str], step: Callable[[str], None], part: _Part) -> Path:
    """The folder of a part with these contents, made if the cache has none."""
    text = "\n".join((_FORMAT, sys.version, initramfs.SCRIPT, *contents))
    name = f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    made = cache() / "guests" / name
    if made.is_dir():
        return made
    partial = made.with_name(f".{name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        part.make(partial, lambda text: step(f"guest image {name}: {text}"))
        if not made.is_dir():  # or another process was quicker
            partial.rename(made)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return made


@dataclass(frozen=True)
class _Base:
    packages: Packages

    def make(self, folder: Path, step: Callable[[str], None]) -> None:
        tree, kernel = folder / "tree", folder / "kernel"
        step(f"{len(self.packages.files) + 1} Debian packages")
        debs = fetch(self.packages, cache() / "packages")
        step("unpacking")
        unpack(debs[0], kernel)
        for deb in debs[1:]:
            unpack(deb, tree)
        for unwanted in _UNWANTED:
            shutil.rmtree(tree / unwanted, ignore_errors=True)
        for name in _MOUNT_POINTS:
            (tree / name).mkdir(parents=True, exist_ok=True)
        (tree / "var").mkdir(exist_ok=True)
        (tree / "var/run").symlink_to("/run")
        (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n", encoding="utf-8")
        (tree / "etc/hosts").write_text("127.0.0.1 localhost\n", encoding="utf-8")
        step("what the wheel needs")
        site = tree / _SITE
        for distribution in _needed(_PROJECT):
            for file in distribution.files or ():
                if file.parts[0] != ".." and (source := Path(str(distribution.locate_file(file)))).is_file():
                    (site / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(source, site / file)
        step("compiling Python's own library")
        library = "/usr/lib/" + Path(_SITE).parent.name
        _run("chroot", str(tree), f"/usr/bin/{_PYTHON}", "-m", "compileall", "-qq", library)
        step("initramfs and root file system")
        release = self.packages.release
        shutil.copy(kernel / f"boot/vmlinuz-{release}", folder / "vmlinuz")
        initramfs.make(kernel, release, tree / "bin/busybox", folder / "initramfs")
        _file_system(tree, folder / "root.ext4")
        shutil.rmtree(kernel)


@dataclass(frozen=True)
class _Project:
    wheel: Path

    def make(self, folder: Path, step: Callable[[str], None]) -> None:
        step("the project's wheel")
        site = folder / "tree"
        _pip("install", "--no-deps", "--no-index", "--target", str(site), str(self.wheel))
        for script in (site / "bin").iterdir():
            lines = script.read_text(encoding="utf-8").splitlines(keepends=True)
            lines[0] = f"#!/usr/bin/{_PYTHON}\n"
            script.write_text("".join(lines), encoding="utf-8")
        _file_system(site, folder / "project.ext4")


def _file_system(tree: Path, into: Path) -> None:
    """Of what is in `tree`, which goes. Guests mount it read-only."""
    size = int(_run("du", "-sm", str(tree)).split()[0]) * 11 // 10 + _SPARE
    _run("mkfs.ext4", "-q", "-F", "-m0", "-O", "^has_journal", "-d", str(tree), str(into), f"{size}M")
    shutil.rmtree(tree)


def _needed(project: str) -> Iterator[metadata.Distribution]:
    """All that a distribution needs, without itself. Raises ImageError."""
    seen: set[str] = set()
    waiting = _requirements(project)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            yield metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another platform, or an extra that was not asked for
        waiting += _requirements(name)


def _requirements(name: str) -> list[str]:
    try:
        required = metadata.distribution(name).requires or []
    except metadata.PackageNotFoundError:
        raise ImageError(f"distribution {name!r} is not installed here; install {_PROJECT} whole") from None
    found = []
    for line in required:
        match = _REQUIREMENT.match(line)
        # an extra is taken where it is installed and wanted by the project itself
        if match and ("extra ==" not in line or name == "nats-py"):
            found.append(match[0])
    return found


def _wheel(folder: Path) -> Path:
    """The project's own: built from the tree of an editable install, or made again of what is installed."""
    origin = _tree()
    if origin is None:
        raise ImageError(
            f"guests are made from a clone of the repository, and {_PROJECT} is installed from a wheel here"
        )
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(origin))
    (wheel,) = folder.glob("*.whl")
    return wheel


def _tree() -> Path | None:
    for parent in Path(str(files("hvchannel_lab"))).parents:
        if (parent / "pyproject.toml").exists():
            return parent
    return None


def _pip(*words: str) -> None:
    _run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ImageError(f"program {command[0]!r}: not on PATH; apt-get install e2fsprogs") from None
    if done.returncode:
        said = ((done.stderr or done.stdout).strip().splitlines() or ["no word of why"])[-1]
        raise ImageError(f"{' '.join(command[:4])}: {said}")
    return done.stdout
