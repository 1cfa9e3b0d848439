# SPDX-License-Identifier: Apache-2.0
"""Tables of guestd's store, and its records."""

import sqlite3
from dataclasses import dataclass
from typing import IO, Final

from hvchannel_daemons.storage import pieces

VERSION: Final = 1

# how far the hooks of each key have come; a store that was made before there were hooks gets it when it is opened
HOOKED: Final = """
CREATE TABLE hooked (key TEXT PRIMARY KEY, position INTEGER NOT NULL)
"""

SCHEMA: Final = (
    f"{pieces.SCHEMA}{HOOKED};"
    + """
CREATE TABLE identity (
  vif TEXT NOT NULL,
  origin TEXT NOT NULL,
  binding INTEGER NOT NULL,
  position INTEGER NOT NULL
);
CREATE TABLE documents (
  key TEXT PRIMARY KEY,
  origin TEXT NOT NULL,
  revision INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  sha256 BLOB NOT NULL,
  size INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  position INTEGER NOT NULL UNIQUE,
  stored_unix_ns INTEGER NOT NULL,
  content INTEGER,
  grouped INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX documents_live ON documents (key) WHERE NOT deleted;
CREATE TABLE reports (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE,
  type TEXT NOT NULL,
  content_type TEXT NOT NULL,
  data BLOB NOT NULL,
  time_unix_ns INTEGER NOT NULL,
  about_key TEXT NOT NULL,
  about_revision INTEGER NOT NULL
);
INSERT INTO identity VALUES ('', '', 0, 0)
"""
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as the guest holds it; a tombstone has no content."""

    key: str
    revision: int
    content_type: str
    sha256: bytes
    size: int  # bytes
    deleted: bool
    position: int  # in the order of changes of this store
    stored_unix_ns: int
    content: int | None
    grouped: bool  # it was stored together with others


@dataclass(frozen=True, slots=True)
class Arrived:
    """A document that has come whole and whose digest is right, not yet durable."""

    key: str
    revision: int
    content_type: str
    sha256: bytes
    size: int
    content: bytes | IO[bytes] | None  # None: a tombstone

    def rewind(self) -> None:
        """To be stored again."""
        if self.content is not None and not isinstance(self.content, bytes):
            self.content.seek(0)

    def close(self) -> None:
        if self.content is not None and not isinstance(self.content, bytes):
            self.content.close()


@dataclass(frozen=True, slots=True)
class QueuedReport:
    sequence: int
    id: bytes
    type: str
    content_type: str
    data: bytes
    time_unix_ns: int
    about_key: str
    about_revision: int


def stored(row: sqlite3.Row) -> Stored:
    return Stored(
        key=row["key"],
        revision=row["revision"],
        content_type=row["content_type"],
        sha256=row["sha256"],
        size=row["size"],
        deleted=bool(row["deleted"]),
        position=row["position"],
        stored_unix_ns=row["stored_unix_ns"],
        content=row["content"],
        grouped=bool(row["grouped"]),
    )


def bring_up_to_date(c: sqlite3.Connection) -> None:
    """A store that was made before there were hooks and groups."""
    if not _has_hooks(c):
        c.execute(HOOKED)
    if not _has_groups(c):
        c.execute("ALTER TABLE documents ADD COLUMN grouped INTEGER NOT NULL DEFAULT 0")


def _has_hooks(c: sqlite3.Connection) -> bool:
    return c.execute("SELECT 1 FROM sqlite_master WHERE name = 'hooked'").fetchone() is not None


def _has_groups(c: sqlite3.Connection) -> bool:
    return "grouped" in {row["name"] for row in c.execute("PRAGMA table_info(documents)")}


def queued_report(row: sqlite3.Row) -> QueuedReport:
    return QueuedReport(
        sequence=row["sequence"],
        id=row["id"],
        type=row["type"],
        content_type=row["content_type"],
        data=row["data"],
        time_unix_ns=row["time_unix_ns"],
        about_key=row["about_key"],
        about_revision=row["about_revision"],
    )
