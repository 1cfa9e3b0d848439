# SPDX-License-Identifier: Apache-2.0
"""Maps: created, looked into, written, mapped into memory."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Self

from hvchannel_softswitch.bpf import pins
from hvchannel_softswitch.bpf.barrier import possible_cpus
from hvchannel_softswitch.bpf.syscall import (
    Command,
    Descriptor,
    address,
    attributes,
    bpf,
    object_info,
    object_name,
)

_CREATE = struct.Struct("=IIIIIII16s")
_BATCH = struct.Struct("=8x8xQQIIQQ")
_BY_ID = struct.Struct("=I")
_ELEMENT = struct.Struct("=I4xQQQ")
_INFO = struct.Struct("=IIIIII16s")


class MapKind(IntEnum):
    """enum bpf_map_type."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    DEVMAP = 14
    CPUMAP = 16
    XSKMAP = 17
    QUEUE = 22
    DEVMAP_HASH = 25
    RINGBUF = 27


class MapFlag(IntFlag):
    """BPF_F_*, of a map's creation."""

    NONE = 0
    NO_PREALLOC = 1 << 0
    RDONLY_PROG = 1 << 7
    WRONLY_PROG = 1 << 8
    MMAPABLE = 1 << 10


class Update(IntEnum):
    """What `Map.update` is to do about an entry that is, or is not, there."""

    ANY = 0
    NO_EXIST = 1
    EXIST = 2


_PER_CPU = {MapKind.PERCPU_HASH, MapKind.PERCPU_ARRAY}


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What the kernel says of a map (struct bpf_map_info). `kind` is a plain number, as the kernel may know kinds
    that MapKind does not."""

    kind: int
    id: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    name: str


class Map(Descriptor):
    """A map. Keys and values are bytes of exactly `info.key_size` and `value_bytes`."""

    def __init__(self, descriptor: int) -> None:
        """Takes over `descriptor`. Raises OSError when it is not a map's."""
        super().__init__(descriptor)
        kind, number, key_size, value_size, max_entries, flags, name = _INFO.unpack_from(
            object_info(descriptor)
        )
        self.info = MapInfo(
            kind, number, key_size, value_size, max_entries, flags, name.split(b"\0")[0].decode()
        )
        per_cpu = kind in _PER_CPU
        self.value_bytes = _aligned(value_size, 8) * possible_cpus() if per_cpu else value_size
        """The length of a value for `lookup` and `update`: of a per-CPU map, every possible CPU's, each padded to a
        multiple of 8."""

    @classmethod
    def from_pin(cls, path: Path) -> Self:
        """The map pinned at `path`. Raises OSError (FileNotFoundError when nothing is)."""
        return cls(pins.get(path, pins.PinKind.MAP))

    @classmethod
    def from_id(cls, number: int) -> Self:
        """The map that the kernel knows by this number, such as a map of maps holds for each. Raises OSError
        (FileNotFoundError when there is none)."""
        return cls(bpf(Command.MAP_GET_FD_BY_ID, attributes(_BY_ID.pack(number))))

    def lookup(self, key: bytes) -> bytes | None:
        """The key's value; None when it has none. Raises OSError, ValueError."""
        self._check(key)
        value = ctypes.create_string_buffer(self.value_bytes)
        try:
            self._element(Command.MAP_LOOKUP_ELEM, key, address(value))
        except FileNotFoundError:
            return None
        return value.raw

    def update(self, key: bytes, value: bytes, how: Update = Update.ANY) -> None:
        """Sets the key's value. Raises OSError (E2BIG: the map is full; FileExistsError, FileNotFoundError as `how`
        says), ValueError."""
        self._check(key)
        self._check_value(value)
        self._element(Command.MAP_UPDATE_ELEM, key, address(value), how)

    def update_many(self, elements: Mapping[bytes, bytes]) -> None:
        """Sets many keys' values by one call: of a map of maps each call waits for a grace period. Raises OSError, with
        some of them set; ValueError."""
        for key, value in elements.items():
            self._check(key)
            self._check_value(value)
        if elements:
            keys, values = b"".join(elements), b"".join(elements.values())
            packed = _BATCH.pack(address(keys), address(values), len(elements), self.fd, 0, 0)
            bpf(Command.MAP_UPDATE_BATCH, attributes(packed))

    def delete(self, key: bytes) -> bool:
        """Whether the key was there. Raises OSError (EINVAL for an ARRAY, whose entries always are), ValueError."""
        self._check(key)
        try:
            self._element(Command.MAP_DELETE_ELEM, key, 0)
        except FileNotFoundError:
            return False
        return True

    def keys(self) -> Iterator[bytes]:
        """The keys; those that come and go meanwhile may or may not be among them. Raises OSError."""
        following = ctypes.create_string_buffer(self.info.key_size)
        key: bytes | None = None
        while True:
            try:
                self._element(Command.MAP_GET_NEXT_KEY, key, address(following))
            except FileNotFoundError:
                return
            key = following.raw
            yield key

    def memory(self) -> mmap.mmap:
        """The elements of a MMAPABLE array, shared with the programs that use it: element i starts at i times
        `value_size` rounded up to 8. Stays valid after `close`. Raises OSError, ValueError."""
        if not self.info.flags & MapFlag.MMAPABLE:
            raise ValueError(f"map {self.info.name} was not created with MMAPABLE")
        size = _aligned(_aligned(self.info.value_size, 8) * self.info.max_entries, mmap.PAGESIZE)
        return mmap.mmap(self.fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    def _check(self, key: bytes) -> None:
        if len(key) != self.info.key_size:
            raise ValueError(
                f"map {self.info.name}: a key of {len(key)} bytes, it takes {self.info.key_size}"
            )

    def _check_value(self, value: bytes) -> None:
        if len(value) != self.value_bytes:
            raise ValueError(
                f"map {self.info.name}: a value of {len(value)} bytes, it takes {self.value_bytes}"
            )

    def _element(self, command: Command, key: bytes | None, value: int, flags: int = 0) -> None:
        where = 0 if key is None else address(key)
        bpf(command, attributes(_ELEMENT.pack(self.fd, where, value, flags)))


def create_map(
    kind: MapKind,
    key_size: int,
    value_size: int,
    max_entries: int,
    flags: MapFlag = MapFlag.NONE,
    name: str = "",
    *,
    inner: Map | None = None,
) -> Map:
    """A new, empty (of arrays: zeroed) map. Sizes in bytes; of a RINGBUF both are 0 and `max_entries` is its size in
    bytes, a power of two of whole pages. `inner`: of a map of maps, one of the kind that it takes, in values of
    4 bytes: a descriptor when it is written, the map's number when it is read. Raises OSError, ValueError for the
    name."""
    like = inner.fd if inner is not None else 0
    packed = _CREATE.pack(kind, key_size, value_size, max_entries, flags, like, 0, object_name(name))
    try:
        return Map(bpf(Command.MAP_CREATE, attributes(packed)))
    except OSError as error:
        what = (
            f"{kind.name} {name!r} of {max_entries} entries, {key_size}+{value_size} bytes, flags {flags:#x}"
        )
        raise OSError(error.errno, f"{error.strerror} ({what})") from error


def _aligned(size: int, to: int) -> int:
    return -(-size // to) * to
