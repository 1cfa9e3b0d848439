# SPDX-License-Identifier: Apache-2.0
"""What the SQLite feed writes; every function runs inside a transaction of its caller."""

import sqlite3
import time
import uuid
from typing import Final

from hvchannel_daemons import limits
from hvchannel_daemons.feed.interface import HISTORY_REVISIONS, Ack, QuotaError, Report
from hvchannel_daemons.feed.quotas import Quota, Usage, refusal
from hvchannel_daemons.feed.sqlite_tables import HISTORY, LATER_OF_SESSIONS, OWNERS, QUOTAS, USAGE
from hvchannel_daemons.storage import pieces

REPORTS_KEPT: Final = (
    10_000  # of one VIF; older ones give way, so that no guest can fill the hypervisor's disk
)
REPORT_BYTES_KEPT: Final = 64 * limits.MIB


def new_feed(c: sqlite3.Connection) -> None:
    c.execute("INSERT INTO feed (origin, position) VALUES (?, 0)", (uuid.uuid4().hex,))


def is_current(c: sqlite3.Connection) -> bool:
    return all(_has(c, table) for table in ("history", "owners", "quotas")) and not _lacking(c)


def bring_up_to_date(c: sqlite3.Connection) -> None:
    """A feed that an earlier release made; another process may just have done it."""
    if not _has(c, "history"):
        c.execute(HISTORY)
    if not _has(c, "owners"):
        c.execute(OWNERS)
    for name, kind in _lacking(c).items():
        c.execute(f"ALTER TABLE sessions ADD COLUMN {name} {kind}")
    if not _has(c, "quotas"):
        c.execute(QUOTAS)
        c.execute(USAGE)
        c.execute(
            "INSERT INTO usage SELECT vif, sum(size), count(*) FROM documents WHERE NOT deleted GROUP BY vif"
        )
        for table in ("documents", "history"):
            if "group_id" not in _columns(c, table):  # a history that was made just now has it
                c.execute(f"ALTER TABLE {table} ADD COLUMN group_id TEXT NOT NULL DEFAULT ''")
                c.execute(f"ALTER TABLE {table} ADD COLUMN group_size INTEGER NOT NULL DEFAULT 0")


def _has(c: sqlite3.Connection, table: str) -> bool:
    return c.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None


def _columns(c: sqlite3.Connection, table: str) -> set[str]:
    return {row["name"] for row in c.execute(f"PRAGMA table_info({table})")}


def _lacking(c: sqlite3.Connection) -> dict[str, str]:
    """Columns that its sessions have not got yet."""
    has = _columns(c, "sessions")
    return {name: kind for name, kind in LATER_OF_SESSIONS.items() if name not in has}


def replace_document(
    c: sqlite3.Connection,
    vif: str,
    key: str,
    content_type: str,
    sha256: bytes,
    size: int,
    content: int | None,
    *,
    group: tuple[str, int] = ("", 0),
) -> int:
    """Makes this the newest revision of the key (a tombstone when `content` is None) and returns the revision.
    `group`: its id and size. `check_room` is the caller's."""
    old = c.execute("SELECT * FROM documents WHERE vif = ? AND key = ?", (vif, key)).fetchone()
    ack = c.execute("SELECT acknowledged FROM acks WHERE vif = ? AND key = ?", (vif, key)).fetchone()
    # also beyond what the guest holds: a feed restored from an old copy must not hand out revisions a
    # second time
    revision = 1 + max(old["revision"] if old else 0, ack["acknowledged"] if ack else 0)
    _use(c, vif, None if old is None or old["deleted"] else old["size"], None if content is None else size)
    position = c.execute("UPDATE feed SET position = position + 1 RETURNING position").fetchone()[0]
    now = time.time_ns()
    c.execute(
        "REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (vif, key, revision, content_type, sha256, size, content is None, position, now, content, *group),
    )
    if old:
        _remember(c, old)
    return revision


def usage(c: sqlite3.Connection, vif: str) -> Usage:
    row = c.execute("SELECT bytes, documents FROM usage WHERE vif = ?", (vif,)).fetchone()
    return Usage() if row is None else Usage(*row)


def quota(c: sqlite3.Connection, vif: str) -> Quota:
    row = c.execute(
        "SELECT bytes, documents, reports_per_second FROM quotas WHERE vif = ?", (vif,)
    ).fetchone()
    return Quota() if row is None else Quota(*row)


def set_quota(c: sqlite3.Connection, vif: str, new: Quota | None) -> None:
    if new is None:
        c.execute("DELETE FROM quotas WHERE vif = ?", (vif,))
    else:
        values = (vif, new.bytes, new.documents, new.reports_per_second)
        c.execute("REPLACE INTO quotas VALUES (?, ?, ?, ?)", values)


def _use(c: sqlite3.Connection, vif: str, old_size: int | None, new_size: int | None) -> None:
    """As Usage.changed."""
    after = usage(c, vif).changed(old_size, new_size)
    c.execute("REPLACE INTO usage VALUES (?, ?, ?)", (vif, after.bytes, after.documents))


def check_room(c: sqlite3.Connection, vif: str, before: Usage) -> None:
    """Raises QuotaError when the VIF may not have what it has now rather than `before`."""
    why = refusal(vif, quota(c, vif), before, usage(c, vif))
    if why:
        raise QuotaError(why)


def _remember(c: sqlite3.Connection, old: sqlite3.Row) -> None:
    """Moves a replaced revision to the history, without a content of several pieces, and bounds that."""
    c.execute("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", tuple(old))
    if old["size"] > limits.PIECE_BYTES:
        pieces.drop(c, old["content"])
    # revisions may leap, beyond what a guest holds: counted by rows, not by number
    rows = c.execute(
        "SELECT revision, content FROM history WHERE vif = ? AND key = ? ORDER BY revision DESC LIMIT -1 OFFSET ?",
        (old["vif"], old["key"], HISTORY_REVISIONS - 1),
    ).fetchall()
    for row in rows:
        pieces.drop(c, row["content"])
        c.execute(
            "DELETE FROM history WHERE vif = ? AND key = ? AND revision = ?",
            (old["vif"], old["key"], row["revision"]),
        )


def hold(c: sqlite3.Connection, vif: str, key: str, revision: int) -> None:
    """The guest said in its inventory that it holds this revision (0: none)."""
    c.execute(
        """INSERT INTO acks VALUES (?, ?, ?, 0, NULL, '')
           ON CONFLICT DO UPDATE SET acknowledged = excluded.acknowledged""",
        (vif, key, revision),
    )


def answer(c: sqlite3.Connection, vif: str, ack: Ack) -> None:
    c.execute(
        "REPLACE INTO acks VALUES (?, ?, ?, ?, ?, ?)",
        (vif, ack.key, ack.held, ack.revision, ack.outcome.value, ack.error),
    )


def add_report(c: sqlite3.Connection, vif: str, report: Report) -> bool:
    """False when a report of this id is there already."""
    cursor = c.execute(
        """INSERT OR IGNORE INTO reports (vif, id, sequence, type, content_type, data, time_unix_ns,
        about_key,
           about_revision, stored_unix_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            vif,
            report.id,
            report.sequence,
            report.type,
            report.content_type,
            report.data,
            report.time_unix_ns,
            report.about_key,
            report.about_revision,
            time.time_ns(),
        ),
    )
    if cursor.rowcount == 0:
        return False
    c.execute(
        """INSERT INTO report_totals VALUES (?, 1, ?)
           ON CONFLICT DO UPDATE SET count = count + 1, bytes = bytes + excluded.bytes""",
        (vif, len(report.data)),
    )
    return True


def make_room(c: sqlite3.Connection, vif: str) -> None:
    """Drops the oldest reports of the VIF beyond REPORTS_KEPT or REPORT_BYTES_KEPT."""
    count, total = c.execute("SELECT count, bytes FROM report_totals WHERE vif = ?", (vif,)).fetchone()
    while count > REPORTS_KEPT or total > REPORT_BYTES_KEPT:
        number, size = c.execute(
            "SELECT number, length(data) FROM reports WHERE vif = ? ORDER BY number LIMIT 1", (vif,)
        ).fetchone()
        c.execute("DELETE FROM reports WHERE number = ?", (number,))
        count, total = count - 1, total - size
    c.execute("UPDATE report_totals SET count = ?, bytes = ? WHERE vif = ?", (count, total, vif))
