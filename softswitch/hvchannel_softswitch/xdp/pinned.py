# SPDX-License-Identifier: Apache-2.0
"""A switch's data path as it outlives the process: pins in a bpffs, and a directory for what must be remembered.

    /sys/fs/bpf/softswitch/<name>/     maps/<map>       of the ports: the same for every program
                                       links/<port>     each port's program, attached
                                       runs/<id>/       a program and the maps it came with; <id> is the program's
    /run/softswitch/<name>/            lock, offload.json, and what the engine keeps there

A run is complete once its `program` is there, which is pinned last. Links say which program they run; so whatever
moment a process died at, the next one knows what is forwarding.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from hvchannel_softswitch.bpf import Link, Map, Program, bpffs, pins

log = structlog.get_logger(__name__)

RUN = Path("/run/softswitch")
_FOLDER = "softswitch"
_PROGRAM = "program"
_LOCK = "lock"


class NameInUseError(Exception):
    """Another process has the name; the message says which."""


@dataclass(frozen=True, slots=True)
class Run:
    """A program, and the maps by name that were handed over with it. The descriptors are the holder's to close."""

    program: Program
    maps: Mapping[str, Map]

    def close(self) -> None:
        """Closes them all; what is pinned stays."""
        self.program.close()
        for handed in self.maps.values():
            handed.close()


def default_name(device_id: int, interfaces: Iterable[str]) -> str:
    """The name of a device with these interfaces in the network namespace of the calling thread: the same again after a
    restart, and another's in no case. Raises OSError."""
    wires = hashlib.sha256("\0".join(sorted(interfaces)).encode()).hexdigest()[:8]
    return f"{Path('/proc/thread-self/ns/net').stat().st_ino}-{device_id}-{wires}"


class Pinned:
    """What is pinned under one name. One process at a time has it."""

    def __init__(self, name: str, *, run: Path = RUN, bpf: Path = bpffs.BPFFS) -> None:
        """Takes the name, until `release` or the end of the process. Mounts a bpffs at `bpf` when there is none. Raises
        NameInUseError, OSError, ValueError for a name that no file can have, or no pin (those have no '.')."""
        if not name or set(name) & set("./\0"):
            raise ValueError(f"{name!r} cannot be the name of a pinned switch: no '.' and no '/'")
        self.name = name
        self.directory = run / name
        """For files that a restart needs, the engine's too; removed by `clear`."""
        self._lock = _lock(self.directory)
        try:
            self._home = bpffs.find(bpf)
        except OSError:
            os.close(self._lock)
            raise
        if self._home.note:
            (log.info if self._home.lasting else log.warning)(self._home.note)
        self._root = self._home.path / _FOLDER / name

    @property
    def lasting(self) -> bool:
        """Whether pins outlive the process. False in a mount namespace of its own with no bpffs in reach outside."""
        return self._home.lasting

    def release(self) -> None:
        """Leaves everything as it is, and the name to others; where nothing is kept, no trace of it."""
        if self._lock >= 0:
            if not self._root.exists() and [path.name for path in _entries(self.directory)] == [_LOCK]:
                self._remove_directory()
            os.close(self._lock)
            self._lock = -1
            self._home.close()

    def clear(self) -> None:
        """Unpins everything, removes the directory, and releases the name. Programs stop when nothing else holds their
        links: detach first what must be gone at once. Raises OSError."""
        _remove_tree(self._root)
        with suppress(OSError):
            self._root.parent.rmdir()  # if this was the last
        self._remove_directory()
        self.release()

    def _remove_directory(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        with suppress(OSError):
            self.directory.parent.rmdir()

    # --- maps of the ports

    def map(self, name: str) -> Map | None:
        """A map kept by `keep_map`, in a new descriptor. Raises OSError."""
        with suppress(FileNotFoundError):
            return Map.from_pin(self._root / "maps" / name)
        return None

    def keep_map(self, name: str, kept: Map) -> None:
        """Pins a map, in the place of one of that name. Raises OSError."""
        self._pin(kept.fd, self._root / "maps" / name)

    # --- links

    def links(self) -> dict[int, Link]:
        """The pinned links by port, in new descriptors; what is no link is unpinned and logged. Raises OSError."""
        found: dict[int, Link] = {}
        for path in _entries(self._root / "links"):
            try:
                found[int(path.name)] = Link.from_pin(path)
            except (OSError, ValueError) as error:
                log.warning("pin_dropped", note="it is no port's link", pin=path.name, reason=str(error))
                pins.unpin(path)
        return found

    def keep_link(self, port: int, link: Link) -> None:
        """Raises OSError."""
        self._pin(link.fd, self._root / "links" / str(port))

    def drop_link(self, port: int) -> None:
        """Unpins; one that is not pinned is no error. Raises OSError."""
        pins.unpin(self._root / "links" / str(port))

    # --- runs

    def keep_run(self, program: Program, maps: Mapping[str, Map]) -> None:
        """Pins a program and its maps beside those there are. Raises OSError, ValueError for a map named "program"."""
        if _PROGRAM in maps:
            raise ValueError(f"a map cannot be named {_PROGRAM!r}")
        directory = self._root / "runs" / str(program.info.id)
        for name, handed in maps.items():
            self._pin(handed.fd, directory / name)
        self._pin(program.fd, directory / _PROGRAM)

    def newest_run(self, among: Collection[int] = ()) -> Run | None:
        """The newest complete one, of the programs `among` (their ids; none: of all); None when there is none. Raises
        OSError."""
        for directory in sorted(self._runs(), key=lambda path: int(path.name), reverse=True):
            if among and int(directory.name) not in among:
                continue
            with suppress(FileNotFoundError):
                program = Program.from_pin(directory / _PROGRAM)
                handed = [path for path in _entries(directory) if path.name != _PROGRAM]
                return Run(program, {path.name: Map.from_pin(path) for path in handed})
        return None

    def drop_other_runs(self, program: Program) -> None:
        """Unpins all runs but that of a program. Raises OSError."""
        for directory in self._runs():
            if int(directory.name) != program.info.id:
                _remove_tree(directory)

    def _runs(self) -> list[Path]:
        return [path for path in _entries(self._root / "runs") if path.name.isdigit()]

    def _pin(self, descriptor: int, path: Path) -> None:
        """In the place of what may be there, at no moment with nothing."""
        fresh = self._root / "new"
        pins.unpin(fresh)
        pins.pin(descriptor, fresh)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.rename(path)


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []


def _remove_tree(directory: Path) -> None:
    for path in _entries(directory):
        if path.is_dir():
            _remove_tree(path)
        else:
            path.unlink()
    with suppress(FileNotFoundError):
        directory.rmdir()


def _lock(directory: Path) -> int:
    """A locked descriptor; the kernel lets go of the lock when the process ends, however it ends."""
    path = directory / _LOCK
    while True:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # removed by the one who had the name, between the two lines above
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "?"
            os.close(descriptor)
            raise NameInUseError(
                f"switch {directory.name!r} is process {holder}'s; end that first"
            ) from error
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                return descriptor
        os.close(descriptor)  # it locked a file that has been removed since
