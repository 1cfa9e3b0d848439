# SPDX-License-Identifier: Apache-2.0
"""Gathering the members of an atomic group (version 2 of the protocol) until all have come."""

from dataclasses import dataclass

from hvchannel_daemons import limits
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.guestd.assembly import ProtocolError, Rejected
from hvchannel_daemons.guestd.store_tables import Arrived


@dataclass(frozen=True, slots=True)
class ArrivedGroup:
    """Whole, not yet durable. `error` says which rule a member broke; then none may be stored."""

    documents: tuple[Arrived, ...]
    rejected: tuple[Rejected, ...] = ()
    error: str = ""


class Grouping:
    """At most one group is open."""

    def __init__(self) -> None:
        self._open: pb.GroupBegin | None = None
        self._documents: list[Arrived] = []
        self._rejected: list[Rejected] = []

    @property
    def is_open(self) -> bool:
        return self._open is not None

    def begin(self, begin: pb.GroupBegin) -> None:
        """Raises ProtocolError."""
        if self._open is not None:
            raise ProtocolError("a GroupBegin before the GroupEnd of the group before it")
        if not 1 <= begin.members <= limits.GROUP_MEMBERS or begin.size > limits.GROUP_BYTES:
            raise ProtocolError(
                f"a group of {begin.members} documents and {begin.size} bytes "
                f"(valid: 1 to {limits.GROUP_MEMBERS} documents, at most {limits.GROUP_BYTES} bytes)"
            )
        self._open = begin

    def add(self, document: Arrived) -> None:
        """Raises ProtocolError when the group has more than its GroupBegin said."""
        assert self._open is not None
        self._documents.append(document)
        size = sum(member.size for member in self._documents)
        if len(self._documents) + len(self._rejected) > self._open.members or size > self._open.size:
            raise ProtocolError(
                f"more in a group than the declared {self._open.members} documents and {self._open.size} bytes"
            )

    def reject(self, member: Rejected) -> None:
        self._rejected.append(member)

    def end(self) -> ArrivedGroup:
        """Raises ProtocolError."""
        if self._open is None:
            raise ProtocolError("a GroupEnd without a GroupBegin before it")
        count = len(self._documents) + len(self._rejected)
        if count != self._open.members:
            raise ProtocolError(f"a group of {count} documents, declared were {self._open.members}")
        documents, rejected = tuple(self._documents), tuple(self._rejected)
        self._open, self._documents, self._rejected = None, [], []
        error = f"member {rejected[0].key}: {rejected[0]}" if rejected else ""
        if len({document.key for document in documents}) < len(documents):
            error = "the group has a key twice"
        return ArrivedGroup(documents, rejected, error)

    def abandon(self) -> None:
        for document in self._documents:
            document.close()
        self._open, self._documents, self._rejected = None, [], []
