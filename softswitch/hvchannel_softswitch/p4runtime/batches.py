# SPDX-License-Identifier: Apache-2.0
"""A WriteRequest as it came in: what surrounds its updates, and where these lie among the bytes.

The updates of a batch are mostly alike, down to their lengths. Such a run of them is found by its stride, in a few
looks at all of it, instead of one look or more at each.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from finsy.proto import p4r
from google.protobuf.message import DecodeError

from hvchannel_softswitch.p4runtime.wire import varint

_DEVICE_ID = p4r.WriteRequest.DEVICE_ID_FIELD_NUMBER << 3
_ELECTION_ID = p4r.WriteRequest.ELECTION_ID_FIELD_NUMBER << 3 | 2
_UPDATE = p4r.WriteRequest.UPDATES_FIELD_NUMBER << 3 | 2
"""Tags, in the order in which serialisers write them."""

_DEVICE_ID_TAG = bytes((_DEVICE_ID,))
_MORE = 0x80
_LONGEST_RUN = 1024


class Run(NamedTuple):
    """`size` updates of one length. The first one's tag is at `start`, its message `lead` bytes further, and so on
    every `stride` bytes."""

    data: bytes
    start: int
    lead: int
    stride: int
    size: int

    @property
    def length(self) -> int:
        """Bytes of one update."""
        return self.stride - self.lead

    @property
    def stop(self) -> int:
        """The place after the last one."""
        return self.start + self.size * self.stride

    def updates(self) -> Iterator[bytes]:
        """Each of them."""
        for place in range(self.start, self.stop, self.stride):
            yield self.data[place + self.lead : place + self.stride]

    def after(self, count: int) -> Run:
        """Without the first ones."""
        start = self.start + count * self.stride
        return Run(self.data, start, self.lead, self.stride, self.size - count)

    def first(self, count: int) -> Run:
        """Only the first ones."""
        return Run(self.data, self.start, self.lead, self.stride, count)


class Batch(NamedTuple):
    """`request` has everything but the updates; it is not to be changed."""

    data: bytes
    request: p4r.WriteRequest
    runs: list[Run]


def split(data: bytes) -> Batch | None:
    """None for what is not written as serialisers do: all updates side by side, after device and election id."""
    runs: list[Run] = []
    end = len(data)
    try:
        start = place = _before_updates(data)
        while place < end and data[place] == _UPDATE:
            length, body = varint(data, place + 1)
            if body + length > end:
                return None
            run = _run(data, place, body - place, body - place + length)
            runs.append(run)
            place = run.stop
        request = _request(data[:start] + data[place:])
    except (IndexError, ValueError, DecodeError):
        return None
    return None if request.updates else Batch(data, request, runs)


def _before_updates(data: bytes) -> int:
    place = 0
    if data.startswith(_DEVICE_ID_TAG):
        _, place = varint(data, 1)
    if place < len(data) and data[place] == _ELECTION_ID and data[place + 1] < _MORE:
        place += 2 + data[place + 1]
    return place


@lru_cache(32)
def _request(data: bytes) -> p4r.WriteRequest:
    # A client's requests are all the same but for their updates.
    return p4r.WriteRequest.FromString(data)


def _run(data: bytes, start: int, lead: int, stride: int) -> Run:
    header = data[start : start + lead]
    count = 1
    if data.startswith(header, start + stride):
        count = min((len(data) - start) // stride, _LONGEST_RUN)
        for offset in range(lead):
            column = data[start + offset : start + count * stride : stride]
            count = len(column) - len(column.lstrip(header[offset : offset + 1]))
    return Run(data, start, lead, stride, count)
