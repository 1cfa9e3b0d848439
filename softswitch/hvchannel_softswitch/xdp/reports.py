# SPDX-License-Identifier: Apache-2.0
"""What the program tells this process through a ring buffer: records of little-endian u64 words.

    word 0   kind | CPU << 32
    word 1   how many bytes of a frame follow the words (0 for most kinds)
    ...      as many words as the kind has, then the frame

Words by kind are named at each kind below. Everything from BEGIN to END is told only by a program compiled for tracing;
the records of one packet follow one another among those of its CPU.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """The kind of a record."""

    DIGEST = 1
    """The learn list's place, from 1; then its values, packed."""
    TO_CPU = 2
    """No words; the frame."""
    BEGIN = 3
    """The port, the time in nanoseconds, the frame's whole length; the frame."""
    STATE = 4
    """The parser state's place in the parser's order."""
    EXTRACTED = 5
    """The header's place in the program's headers, its offset in the frame that BEGIN brought."""
    PARSER_ERROR = 6
    """The error's number."""
    CONDITION = 7
    """The condition's place among those of the program (see `Places`), its result."""
    TABLE = 8
    """The table's place, 1 for a hit, the entry's number, the action's place; packed keys, packed arguments."""
    STATEMENTS = 9
    """The table's place: a table without keys that p4c made of statements."""
    CHECKSUM_ERROR = 10
    """The checksum's place among those to verify."""
    DROPPED = 11
    """0: at the end of ingress, 1: of egress."""
    SENT = 12
    """The port, the frame's whole length; the frame."""
    END = 13
    """The run of the program is over."""
    MULTICAST = 14
    """The group, and the number of the record that the packet is left in."""
    REPLICA = 15
    """The first of a replica's run: the port, the instance, and the number of that record."""
    UNICAST = 16
    """The port: the packet of a program that multicasts enters egress as itself."""
    MESSAGE = 17
    """Which of the program's messages (see `messages`); then its values, MESSAGE_WORDS each, signed. Of every build."""


PROBE_SLOT = 1 << 32
"""The number of the record that a probe leaves its packet in: there is one for all CPUs."""

HEAD_WORDS = 2
MESSAGE_WORDS = 3
SIZES = (512, 2048, 16384)
"""Room for a frame that a record may have; the part of a frame beyond the last is left out."""

_WORD = struct.Struct("<QQ")


@dataclass(frozen=True, slots=True)
class Record:
    """A record taken apart; `words` are those after the head."""

    kind: Kind
    cpu: int
    words: memoryview
    frame: memoryview


def parse(data: bytes, words: dict[Kind, int]) -> Record:
    """`words`: how many words the kinds that bring a frame have."""
    head, length = _WORD.unpack_from(data)
    kind = Kind(head & 0xFFFFFFFF)
    view = memoryview(data)
    body = view[8 * HEAD_WORDS :]
    if kind in words:
        split = 8 * words[kind]
        return Record(kind, head >> 32, body[:split].cast("Q"), body[split : split + length])
    whole = len(body) // 8 * 8
    return Record(kind, head >> 32, body[:whole].cast("Q"), body[:0])


FRAME_WORDS = {Kind.TO_CPU: 0, Kind.BEGIN: 3, Kind.SENT: 2}
"""How many words precede the frame, in the kinds that bring one."""
