# SPDX-License-Identifier: Apache-2.0
"""What the messages of the feed say: contents as they are, all about them as JSON in one header."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Final, Protocol

from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from hvchannel_daemons import limits
from hvchannel_daemons.feed.interface import (
    Ack,
    Document,
    Outcome,
    Report,
    Session,
    SessionState,
    StoredReport,
)
from hvchannel_daemons.reasons import Reason

ABOUT: Final = "Hvchannel"
OPERATION: Final = "KV-Operation"  # how key-value clients know a deletion


_NOT_OURS: Final = (KeyError, TypeError, ValueError, OverflowError, RecursionError)
"""What reading raises when another program wrote the message."""


def _object(text: str | bytes) -> dict[str, Any]:
    """Raises one of _NOT_OURS."""
    said = json.loads(text)
    if not isinstance(said, dict):
        raise TypeError("no JSON object")
    return said


def _revision(said: object) -> int:
    """Or any number that is counted: 0 to REVISION_MAX. Raises one of _NOT_OURS."""
    if not isinstance(said, int) or not 0 <= said <= limits.REVISION_MAX:
        raise ValueError(f"{said!r} is no count")
    return said


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as the server stores it."""

    subject: str
    sequence: int
    headers: Mapping[str, str]
    data: bytes
    time: datetime | None = None  # server's clock; None: not asked for

    @property
    def about(self) -> dict[str, Any] | None:
        """None when another program wrote it."""
        try:
            return _object(self.headers.get(ABOUT, ""))
        except _NOT_OURS:
            return None


def lifted(message: RawStreamMsg) -> Stored:
    assert message.subject is not None and message.seq is not None
    return Stored(message.subject, message.seq, message.headers or {}, message.data or b"", message.time)


def received(message: Msg) -> Stored:
    return Stored(message.subject, message.metadata.sequence.stream, message.headers or {}, message.data)


def headers(about: Mapping[str, Any], *, deleted: bool = False) -> dict[str, str]:
    said = {ABOUT: json.dumps(about, separators=(",", ":"))}
    return said | {OPERATION: "DEL"} if deleted else said


@dataclass(frozen=True, slots=True)
class Entry:
    """A revision of a document, and which `put` wrote it."""

    document: Document
    put: str  # unique: tells one's own message after an answer that got lost


NO_GROUP: Final = ("", 0)


def document_headers(
    put: str,
    revision: int,
    content_type: str,
    sha256: bytes,
    size: int,
    unix_ns: int,
    pieces: str | None,
    group: tuple[str, int] = NO_GROUP,
) -> dict[str, str]:
    """`group`: id and size of the group that the document is a member of."""
    about = {
        "put": put,
        "revision": revision,
        "content_type": content_type,
        "sha256": sha256.hex(),
        "size": size,
        "put_unix_ns": unix_ns,
    }
    return headers(about | ({"pieces": pieces} if pieces else {}) | _grouped(group))


def tombstone_headers(
    put: str, revision: int, unix_ns: int, group: tuple[str, int] = NO_GROUP
) -> dict[str, str]:
    about = {"put": put, "revision": revision, "put_unix_ns": unix_ns}
    return headers(about | _grouped(group), deleted=True)


def _grouped(group: tuple[str, int]) -> dict[str, Any]:
    return {"group": group[0], "group_size": group[1]} if group[0] else {}


def entry(stored: Stored, vif: str, key: str) -> Entry | None:
    """None when it is nothing that `put` or `delete` wrote: another program's message in our bucket."""
    about = stored.about
    if about is None:
        return None
    deleted = stored.headers.get(OPERATION) == "DEL"
    try:
        size = limits.check_size(_revision(about.get("size", 0)))
        pieces = about.get("pieces", stored.sequence)
        if not isinstance(pieces, int | str):
            return None
        document = Document(
            vif=vif,
            key=key,
            revision=limits.check_revision(_revision(about["revision"])),
            content_type=limits.check_content_type(str(about.get("content_type", ""))),
            sha256=bytes.fromhex(about.get("sha256", "")),
            size=size,
            deleted=deleted,
            position=stored.sequence,
            put_unix_ns=_revision(about["put_unix_ns"]),
            content=None if deleted else pieces,
            group=str(about.get("group", "")),
            group_size=_revision(about.get("group_size", 0)),
        )
        return Entry(document, str(about["put"]))
    except _NOT_OURS:
        return None


@dataclass(frozen=True, slots=True)
class Known:
    """What the guest said of a key last."""

    acknowledged: int = 0
    answered: int = 0
    outcome: Outcome | None = None
    error: str = ""

    @classmethod
    def of(cls, ack: Ack) -> "Known":
        return cls(ack.held, ack.revision, ack.outcome, ack.error)

    def holding(self, revision: int) -> "Known":
        """The guest's inventory says that it holds this revision."""
        return Known(revision, self.answered, self.outcome, self.error)

    def encoded(self) -> bytes:
        return json.dumps(
            {
                "acknowledged": self.acknowledged,
                "answered": self.answered,
                "outcome": self.outcome,
                "error": self.error,
            }
        ).encode()

    @classmethod
    def decoded(cls, stored: Stored | None) -> "Known":
        if stored is None or not stored.data:
            return cls()
        try:
            said = _object(stored.data)
            outcome = Outcome(said["outcome"]) if said["outcome"] else None
            acknowledged, answered = _revision(said["acknowledged"]), _revision(said["answered"])
            return cls(acknowledged, answered, outcome, str(said["error"]))
        except _NOT_OURS:
            return cls()  # the guest's next inventory says it again


@dataclass(frozen=True, slots=True)
class Holder:
    """Which process holds a VIF, or is a hypervisor's hostd."""

    host: str
    process: str  # unique

    def encoded(self) -> bytes:
        return json.dumps({"host": self.host, "process": self.process}).encode()

    @classmethod
    def decoded(cls, data: bytes | None) -> "Holder | None":
        """None: nobody."""
        if not data:
            return None
        try:
            said = _object(data)
            return cls(str(said["host"]), str(said["process"]))
        except _NOT_OURS:
            return None


def encode_session(session: Session) -> bytes:
    return json.dumps(asdict(session)).encode()


def decode_session(stored: Stored) -> Session | None:
    """None when the session was dropped, or another program wrote it."""
    if not stored.data:
        return None
    try:
        said = _object(stored.data)
        known = {field.name: field.type for field in fields(Session)}  # a newer hostd may say more
        codes: dict[str, Any] = {
            name: Reason.read(said[name]) for name in ("code", "error_code") if name in said
        }
        read: dict[str, Any] = {name: said[name] for name in said.keys() & known}
        for name, value in read.items():
            if known[name] in (int, "int"):
                _revision(value)
            elif not isinstance(value, str):
                raise TypeError(f"{name} is no text")
        return Session(**(read | codes | {"state": SessionState(said["state"])}))
    except _NOT_OURS:
        return None


def report_headers(report: Report, unix_ns: int, pieces: str | None) -> dict[str, str]:
    about = {
        "id": report.id.hex(),
        "sequence": report.sequence,
        "type": report.type,
        "content_type": report.content_type,
        "time_unix_ns": report.time_unix_ns,
        "about_key": report.about_key,
        "about_revision": report.about_revision,
        "stored_unix_ns": unix_ns,
        "size": len(report.data),
    }
    return headers(about | ({"pieces": pieces} if pieces else {}))


@dataclass(frozen=True, slots=True)
class ReportAbout:
    """What must be known of a stored report to make room for it, or for others."""

    id: str = ""
    size: int = 0  # bytes
    pieces: str | None = None

    @classmethod
    def of(cls, stored: Stored) -> "ReportAbout":
        """Another program's message has no id and counts for what it holds."""
        about = stored.about or {}
        pieces = about.get("pieces")
        try:
            size = _revision(about["size"])
            return cls(
                str(about["id"]), min(size, limits.REPORT_BYTES), None if pieces is None else str(pieces)
            )
        except _NOT_OURS:
            return cls(size=len(stored.data))


def stored_report(stored: Stored, data: bytes) -> StoredReport | None:
    """None when another program wrote it."""
    about = stored.about
    if about is None:
        return None
    try:
        return StoredReport(
            number=stored.sequence,
            stored_unix_ns=_revision(about["stored_unix_ns"]),
            report=Report(
                id=bytes.fromhex(about["id"]),
                sequence=_revision(about["sequence"]),
                type=str(about["type"]),
                content_type=str(about["content_type"]),
                data=data,
                time_unix_ns=_revision(about["time_unix_ns"]),
                about_key=str(about["about_key"]),
                about_revision=_revision(about["about_revision"]),
            ),
        )
    except _NOT_OURS:
        return None


class MakeMessage(Protocol):
    """Makes the message of a new revision from what it replaces; None: there is nothing to store."""

    async def __call__(
        self, put: str, revision: int, old: Entry | None
    ) -> tuple[bytes, dict[str, str] | None] | None: ...
