# SPDX-License-Identifier: Apache-2.0
"""What was seen of one packet's journey, and the look-ups that find it: in captures, in tables, in what else
the vSwitch leaves (a trace, or counters).

Nothing here knows what an identifier, address or port should be: values are found, and then compared with
each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hvchannel_lab.accounts import Account
from hvchannel_lab.capture import Capture, CaptureTimeoutError, Frame
from hvchannel_lab.frames import Decoded, carries, decode
from hvchannel_lab.handle import Handle
from hvchannel_lab.tables import Entry
from hvchannel_lab.traces import Lookup, Record

_WITHIN = (
    10.0  # seconds for what has happened already to show in a capture or a trace, by a namespace's measure
)
_POLL = 0.05  # seconds


class MissingError(Exception):
    """An element of the journey that cannot be shown: says which, and what was looked for where."""

    def __init__(self, element: str, looked_for: str) -> None:
        super().__init__(f"element {element} cannot be shown: {looked_for}")
        self.element = element
        self.looked_for = looked_for


@dataclass(frozen=True)
class Element:
    """One element: what it says, the values found for it by name, and where evidence was found."""

    number: str
    says: str
    found: dict[str, str]
    sources: tuple[str, ...]


@dataclass
class Witness:
    """Looks for evidence of the packets of one VM, which is on `host`, and remembers for each element where it was
    found."""

    handle: Handle
    capture: Capture
    account: Account
    host: str
    elements: list[Element] = field(default_factory=list)
    _sources: list[str] = field(default_factory=list)
    _number: str = ""

    def element(self, number: str) -> None:
        """What is looked for from here on belongs to this element."""
        self._number, self._sources = number, []

    def shown(self, says: str, **found: object) -> None:
        """The element is complete. A value of None in `found` was not."""
        for name, value in found.items():
            self.require(value is not None, f"{name.replace('_', ' ')}: no value was found")
        texts = {name.replace("_", " "): str(value) for name, value in found.items()}
        self.elements.append(Element(self._number, says, texts, tuple(self._sources)))

    @property
    def _within(self) -> float:
        return _WITHIN * self.handle.topology.vm_kind.patience

    def require(self, true: bool, looked_for: str) -> None:
        """Raises MissingError."""
        if not true:
            raise MissingError(self._number, looked_for)

    def same(self, what: str, first: object, second: object) -> None:
        """Two sources that must agree. Raises MissingError with both values."""
        self.require(first == second, f"{what}: one source says {first}, another {second}")

    def saw(self, source: str) -> None:
        """Names a source of evidence for the present element."""
        if source not in self._sources:
            self._sources.append(source)

    def frame(
        self, hop: str, outgoing: bool, matches: Callable[[Frame], bool], what: str
    ) -> tuple[Frame, Decoded]:
        """The first captured frame at a hop that matches. Raises MissingError."""
        way = "leaving by" if outgoing else "arriving at"
        try:
            found = self.capture.wait(
                lambda frame: frame.hop == hop and frame.outgoing is outgoing and matches(frame),
                self._within,
                f"{what}, {way} {hop}",
            )
        except CaptureTimeoutError as error:
            raise MissingError(self._number, str(error)) from None
        self.saw(f"frame {way} {hop}" + (", as the vSwitch's own trace tells" if found.traced else ""))
        return found, decode(found.data)

    def arrival(self, hop: str, sent: bytes) -> Decoded:
        """The frame that a vSwitch sent, as it came to a daemon's interface. Raises MissingError.

        The kernel there may have merged it with its neighbours in the connection, once it had found its checksums right
        (GRO, without which a veth takes nothing that XDP sends).
        """
        self.require(decode(sent).checksums_right, f"right checksums in the frame for {hop}")
        frame, header = self.frame(
            hop, False, lambda frame: carries(frame.data, sent), "the frame that left the vSwitch"
        )
        if frame.data != sent:
            self.saw(f"there merged with its neighbours into {len(frame.data)} bytes")
        return header

    def record(self, who: str, frame: bytes) -> Record:
        """What the vSwitch did with a frame, by its bytes. Raises MissingError."""
        deadline = time.monotonic() + self._within
        while (found := self.account.find(who, frame)) is None:
            self.require(
                time.monotonic() < deadline,
                f"the packet of {len(frame)} bytes that was captured before {who}'s vSwitch, in "
                f"{self.account.missing(who)}",
            )
            time.sleep(_POLL)
        record, source = found
        self.saw(source)
        return record

    def hit(self, who: str, record: Record, table: str, *actions: str) -> Lookup:
        """A table that the packet hit, with one of these actions; the same entry is read from the running
        vSwitch.

        Raises MissingError.
        """
        lookup = record.lookup(table)
        wanted = f"a hit in table {table!r} of {who}" + (f" with {' or '.join(actions)}" if actions else "")
        if lookup is None:
            raise MissingError(self._number, f"{wanted}; packet {record.number} was never looked up there")
        self.require(
            lookup.hit and (not actions or lookup.action in actions),
            f"{wanted}; packet {record.number} had {lookup.action} ({'hit' if lookup.hit else 'miss'})",
        )
        entry = self._entry(who, table, lookup)
        self.same(f"action of {who}'s {table} for {lookup.key}", entry.action, lookup.action)
        self.same(f"parameters of {who}'s {table} for {lookup.key}", entry.args, lookup.args)
        self.saw(self.account.hit_shown_by(who, lookup))
        return lookup

    def _entry(self, who: str, table: str, lookup: Lookup) -> Entry:
        for entry in self.handle.switch_tables(who, table)[table]:
            if entry.matches(**lookup.key):
                return entry
        raise MissingError(
            self._number, f"entry {lookup.key} of table {table!r}, read from the vSwitch of {who}"
        )

    def output(self, who: str, record: Record, port: int) -> bytes:
        """The frame that the vSwitch sent out of a port. Raises MissingError."""
        for out_port, frame in record.outputs:
            if out_port == port:
                return frame
        ports = [out_port for out_port, _ in record.outputs]
        raise MissingError(
            self._number, f"packet {record.number} of {who} leaving by port {port} (it left by {ports})"
        )
