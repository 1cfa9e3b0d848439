# SPDX-License-Identifier: Apache-2.0
"""Frames at a vSwitch's ports as its own trace tells them: what arrived where, and what left where.

This is how frames are seen that XDP redirects. A trace is written a moment after the frames, and ends at its limit.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from hvchannel_lab import traces
from hvchannel_lab.capture import Frame

_IN_MODIFY = 0x2
_IN_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # IN_NONBLOCK, IN_CLOEXEC (sys/inotify.h)
_EVENTS = 1 << 16  # bytes
_libc = ctypes.CDLL(None, use_errno=True)


class SwitchTrace:
    """A `capture.Source` of some ports of one vSwitch, whose processes write their traces to `path`, one after the
    other."""

    def __init__(self, path: Path, hops: Mapping[int, str]) -> None:
        """`hops`: the ports' names by number. Frames of other ports are left out."""
        self._path = path
        self._hops = dict(hops)
        self._events = -1
        self._file: BinaryIO | None = None
        self._rest = b""
        self._began = 0
        self._epoch = 0

    @property
    def hops(self) -> tuple[str, ...]:
        return tuple(self._hops.values())

    def open(self) -> None:
        try:
            self._events = _watch(self._path)
            self._file = self._path.open("rb")
        except OSError as error:
            where = f"capture at {', '.join(self.hops)}, from the trace {self._path}"
            raise OSError(error.errno, f"{where}: {error.strerror}") from None
        self._file.seek(0, os.SEEK_END)
        self._began = time.monotonic_ns()
        self._epoch = time.time_ns() - self._began

    def fileno(self) -> int:
        return self._events

    def read(self) -> list[Frame]:
        try:
            os.read(self._events, _EVENTS)
        except BlockingIOError:
            return []
        return [
            frame
            for line in self._lines()
            for record in (traces.parse(line),)
            if record.time_ns >= self._began
            for frame in self._frames(record)
        ]

    def dropped(self) -> int:
        """None are known: a vSwitch whose trace cannot keep up leaves packets out without a word."""
        return 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._events >= 0:
            os.close(self._events)
            self._events = -1

    def _lines(self) -> Iterator[str]:
        """The whole ones that are new."""
        assert self._file is not None
        # A vSwitch that is restarted begins its trace anew.
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            self._rest = b""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        yield from (line.decode() for line in lines)

    def _frames(self, record: traces.Record) -> Iterator[Frame]:
        """At its time of arrival, all of them: a trace knows no other."""
        when = self._epoch + record.time_ns
        if record.port in self._hops:
            yield Frame(self._hops[record.port], when, False, record.frame, traced=True)
        for port, frame in record.outputs:
            if port in self._hops:
                yield Frame(self._hops[port], when, True, frame, traced=True)


def _watch(path: Path) -> int:
    """A descriptor that is readable when the file has been written to. Raises OSError."""
    descriptor = _libc.inotify_init1(_IN_FLAGS)
    if descriptor < 0:
        raise _error("inotify_init1")
    if _libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_MODIFY) < 0:
        error = _error("inotify_add_watch")
        os.close(descriptor)
        raise error
    return int(descriptor)


def _error(call: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{call}: {os.strerror(code)}")
