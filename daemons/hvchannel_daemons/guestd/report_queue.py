# SPDX-License-Identifier: Apache-2.0
"""The durable queue of reports to the control plane; `add` runs inside a transaction of its caller."""

import sqlite3

from hvchannel_daemons import limits
from hvchannel_daemons.guestd.store_tables import QueuedReport


class ReportQueueFull(Exception):  # noqa: N818 - a fact about the queue
    """The hypervisor has not taken reports for too long; nothing was queued."""


def add(c: sqlite3.Connection, report: QueuedReport) -> int:
    """The sequence the report got, or has already. Raises ReportQueueFull."""
    same = c.execute("SELECT sequence FROM reports WHERE id = ?", (report.id,)).fetchone()
    if same is not None:
        return int(same["sequence"])
    count, size = c.execute("SELECT count(*), coalesce(sum(length(data)), 0) FROM reports").fetchone()
    if count >= limits.QUEUED_REPORTS or size + len(report.data) > limits.QUEUED_REPORT_BYTES:
        raise ReportQueueFull(
            f"{count} reports with {size} bytes wait for the hypervisor already "
            f"(at most {limits.QUEUED_REPORTS} and {limits.QUEUED_REPORT_BYTES} bytes)"
        )
    row = c.execute(
        """INSERT INTO reports (id, type, content_type, data, time_unix_ns, about_key, about_revision)
           VALUES (?, ?, ?, ?, ?, ?, ?)""",
        (
            report.id,
            report.type,
            report.content_type,
            report.data,
            report.time_unix_ns,
            report.about_key,
            report.about_revision,
        ),
    ).lastrowid
    assert row is not None
    return row
