# SPDX-License-Identifier: Apache-2.0
"""Tables of the SQLite feed, and rows turned into the interface's records."""

import sqlite3
from typing import Final

from hvchannel_daemons.feed.interface import (
    Delivery,
    Document,
    Outcome,
    Report,
    Session,
    SessionState,
    StoredReport,
)
from hvchannel_daemons.reasons import Reason
from hvchannel_daemons.storage import pieces

VERSION: Final = 1

# of replaced revisions; a feed that was made before there was a history gets it when it is opened
HISTORY: Final = """
CREATE TABLE history (
  vif TEXT NOT NULL,
  key TEXT NOT NULL,
  revision INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  sha256 BLOB NOT NULL,
  size INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  position INTEGER NOT NULL,
  put_unix_ns INTEGER NOT NULL,
  content INTEGER,
  group_id TEXT NOT NULL DEFAULT '',
  group_size INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (vif, key, revision)
)
"""

# columns that came later; a feed that was made before gets them when it is opened
LATER_OF_SESSIONS: Final = {
    "host": "TEXT NOT NULL DEFAULT ''",
    "code": "TEXT NOT NULL DEFAULT ''",
    "error_code": "TEXT NOT NULL DEFAULT ''",
    "error": "TEXT NOT NULL DEFAULT ''",
    "error_unix_ns": "INTEGER NOT NULL DEFAULT 0",
    "attempts": "INTEGER NOT NULL DEFAULT 0",
    "sessions": "INTEGER NOT NULL DEFAULT 0",
    "next_unix_ns": "INTEGER NOT NULL DEFAULT 0",
}
# which hypervisor holds a VIF
OWNERS: Final = "CREATE TABLE owners (vif TEXT PRIMARY KEY, host TEXT NOT NULL)"

# of VIFs whose quota is not the default, and what each VIF's live documents take
QUOTAS: Final = """
CREATE TABLE quotas (
  vif TEXT PRIMARY KEY,
  bytes INTEGER NOT NULL,
  documents INTEGER NOT NULL,
  reports_per_second REAL NOT NULL
)
"""
USAGE: Final = "CREATE TABLE usage (vif TEXT PRIMARY KEY, bytes INTEGER NOT NULL, documents INTEGER NOT NULL)"

SCHEMA: Final = f"""
{pieces.SCHEMA}{HISTORY};
{QUOTAS};
{USAGE};
{OWNERS};
CREATE TABLE feed (origin TEXT NOT NULL, position INTEGER NOT NULL);
CREATE TABLE documents (
  vif TEXT NOT NULL,
  key TEXT NOT NULL,
  revision INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  sha256 BLOB NOT NULL,
  size INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  position INTEGER NOT NULL UNIQUE,
  put_unix_ns INTEGER NOT NULL,
  content INTEGER,
  group_id TEXT NOT NULL DEFAULT '',
  group_size INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (vif, key)
);
CREATE INDEX documents_by_position ON documents (vif, position);
CREATE INDEX documents_live ON documents (vif) WHERE NOT deleted;
CREATE TABLE acks (
  vif TEXT NOT NULL,
  key TEXT NOT NULL,
  acknowledged INTEGER NOT NULL,
  answered INTEGER NOT NULL,
  outcome TEXT,
  error TEXT NOT NULL,
  PRIMARY KEY (vif, key)
);
CREATE TABLE reports (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  vif TEXT NOT NULL,
  id BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  type TEXT NOT NULL,
  content_type TEXT NOT NULL,
  data BLOB NOT NULL,
  time_unix_ns INTEGER NOT NULL,
  about_key TEXT NOT NULL,
  about_revision INTEGER NOT NULL,
  stored_unix_ns INTEGER NOT NULL,
  UNIQUE (vif, id)
);
CREATE INDEX reports_by_number ON reports (vif, number);
CREATE TABLE report_totals (vif TEXT PRIMARY KEY, count INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE sessions (
  vif TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  reason TEXT NOT NULL,
  since_unix_ns INTEGER NOT NULL,
  address TEXT NOT NULL,
  version INTEGER NOT NULL,
  agent TEXT NOT NULL,
  {", ".join(f"{name} {kind}" for name, kind in LATER_OF_SESSIONS.items())}
)
"""

DELIVERY: Final = """
SELECT d.*, coalesce(a.acknowledged, 0) AS acknowledged, coalesce(a.answered, 0) AS answered,
       a.outcome AS outcome, coalesce(a.error, '') AS error
FROM documents d LEFT JOIN acks a ON a.vif = d.vif AND a.key = d.key
"""


def document(row: sqlite3.Row) -> Document:
    return Document(
        vif=row["vif"],
        key=row["key"],
        revision=row["revision"],
        content_type=row["content_type"],
        sha256=row["sha256"],
        size=row["size"],
        deleted=bool(row["deleted"]),
        position=row["position"],
        put_unix_ns=row["put_unix_ns"],
        content=row["content"],
        group=row["group_id"],
        group_size=row["group_size"],
    )


def delivery(row: sqlite3.Row) -> Delivery:
    return Delivery(
        document=document(row),
        acknowledged=row["acknowledged"],
        answered=row["answered"],
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        error=row["error"],
    )


def session(row: sqlite3.Row) -> Session:
    return Session(
        vif=row["vif"],
        state=SessionState(row["state"]),
        reason=row["reason"],
        since_unix_ns=row["since_unix_ns"],
        address=row["address"],
        version=row["version"],
        agent=row["agent"],
        host=row["host"],
        code=Reason.read(row["code"]),
        error_code=Reason.read(row["error_code"]),
        error=row["error"],
        error_unix_ns=row["error_unix_ns"],
        attempts=row["attempts"],
        sessions=row["sessions"],
        next_unix_ns=row["next_unix_ns"],
    )


def stored_report(row: sqlite3.Row) -> StoredReport:
    return StoredReport(
        number=row["number"],
        stored_unix_ns=row["stored_unix_ns"],
        report=Report(
            id=row["id"],
            sequence=row["sequence"],
            type=row["type"],
            content_type=row["content_type"],
            data=row["data"],
            time_unix_ns=row["time_unix_ns"],
            about_key=row["about_key"],
            about_revision=row["about_revision"],
        ),
    )
