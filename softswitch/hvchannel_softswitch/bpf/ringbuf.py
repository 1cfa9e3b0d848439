# SPDX-License-Identifier: Apache-2.0
"""The consumer's side of a ring buffer (BPF_MAP_TYPE_RINGBUF; kernel/bpf/ringbuf.c, libbpf's ring_buffer__consume).

The first page holds the consumer's position, which is ours to write; the second the producer's; then the data, mapped
twice in a row so that no record wraps. A record is a header of 8 bytes, whose first word is its length and two flags,
and the payload, padded to 8.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
from collections.abc import Callable

from hvchannel_softswitch.bpf.maps import Map, MapKind

_BUSY = 1 << 31
_DISCARD = 1 << 30
_HEADER = 8

_SEQUENTIALLY_CONSISTENT = 5


class RingBuffer:
    """Reads what programs put in. One thread reads, and nobody else.

    A program that finds no room is told so at once (its bpf_ringbuf_reserve returns null): counting what did not fit is
    the program's, nothing gets lost in here.
    """

    def __init__(self, ring: Map) -> None:
        """`ring` stays the caller's, to be closed after this. Raises OSError, ValueError when it is no ring
        buffer."""
        if ring.info.kind != MapKind.RINGBUF:
            raise ValueError(f"map {ring.info.name} is of kind {ring.info.kind}, not a ring buffer")
        size, page = ring.info.max_entries, mmap.PAGESIZE
        self._map = ring
        self._mask = size - 1
        self._ours = mmap.mmap(ring.fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._theirs = mmap.mmap(ring.fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        # Element access of these is one load or store of the whole word; struct's or slices' may not be.
        self._consumer = memoryview(self._ours)[:8].cast("Q")
        self._producer = memoryview(self._theirs)[:8].cast("Q")
        self._data = memoryview(self._theirs)[page:]
        self._words = self._data.cast("I")
        self._fence = _fence()

    def fileno(self) -> int:
        """Readable while there are records, for `select` and asyncio's `add_reader`."""
        return self._map.fd

    def read(self, limit: int) -> list[bytes]:
        """The records that are complete, in the order of their reservation, at most `limit`; stops before one that a
        program is still writing."""
        records: list[bytes] = []
        position = self._consumer[0]
        while len(records) < limit and position < self._producer[0]:
            self._fence()  # the producer's position before the headers that it covers
            start = position & self._mask
            header = self._words[start >> 2]
            self._fence()  # a header without the busy flag before its payload
            if header & _BUSY:
                break
            length = header & ~_DISCARD
            if not header & _DISCARD:
                payload = start + _HEADER
                records.append(bytes(self._data[payload : payload + length]))
            position += (length + _HEADER + 7) & ~7
            self._fence()  # the payload is copied before its room is given back
            self._consumer[0] = position
        return records

    def close(self) -> None:
        """Unmaps. Closing twice is no error."""
        for view in (self._words, self._data, self._consumer, self._producer):
            view.release()
        self._ours.close()
        self._theirs.close()


def _fence() -> Callable[[], object]:
    """What keeps loads and stores in program order: nothing on x86-64, whose plain ones are (loads with loads, and
    stores behind both); elsewhere a full fence."""
    if platform.machine() == "x86_64":
        return _nothing
    try:
        fence = ctypes.CDLL("libatomic.so.1").atomic_thread_fence
    except OSError as error:
        raise OSError(
            error.errno, f"a ring buffer on {platform.machine()} needs libatomic.so.1 (Debian: libatomic1)"
        ) from error
    return lambda: fence(_SEQUENTIALLY_CONSISTENT)


def _nothing() -> None:
    return None
