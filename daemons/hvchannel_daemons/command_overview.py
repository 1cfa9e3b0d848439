# SPDX-License-Identifier: Apache-2.0
"""The verbs that show what became of documents: vms, reports."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hvchannel_daemons import content
from hvchannel_daemons.command_output import ago, print_json, report_object, time_of, with_feed
from hvchannel_daemons.feed import Feed
from hvchannel_daemons.feed_options import FeedAt, Json, Vif, takes_feed


@takes_feed
def vms(at: FeedAt, as_json: Json = False) -> None:
    """Show every VM: the hypervisor that serves it, its session, how many of its documents have arrived, its last
    report."""
    overview = with_feed(at, _overview)
    if as_json:
        print_json(overview)
        return
    table = Table("VIF", "host", "session", "since", "documents", "acknowledged", "last report")
    for row in overview["vms"]:
        state = row["state"] + (f": {row['reason']}" if row["reason"] else "")
        if row["contenders"]:
            state += f" (also announced at {', '.join(row['contenders'])})"
        report = row["last_report"]
        table.add_row(
            row["vif"],
            row["host"],
            state,
            ago(row["since_unix_ns"]),
            str(row["documents"]),
            f"{row['acknowledged']} ({len(row['errors'])} errors)"
            if row["errors"]
            else str(row["acknowledged"]),
            f"{report['type']} {ago(report['stored_unix_ns'])}" if report else "",
        )
    Console().print(table)
    for host in sorted({row["host"] for row in overview["vms"] if row["host"] and not row["served"]}):
        typer.echo(f"hostd of {host} is not running", err=True)


@takes_feed
def reports(
    vif: Vif,
    at: FeedAt,
    after: Annotated[int, typer.Option(min=0, help="Only those with a greater number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 1000,
    as_json: Json = False,
) -> None:
    """Print the reports of a VM, oldest first (with --json: one object per line, with their data)."""
    for stored in with_feed(at, lambda opened: opened.reports(vif, after=after, limit=limit)):
        if as_json:
            print_json(report_object(stored) | content.as_json(stored.report.data))
            continue
        report = stored.report
        about = f"  about {report.about_key} revision {report.about_revision}" if report.about_key else ""
        when = time_of(stored.stored_unix_ns)
        typer.echo(f"{stored.number}  {when}  {report.type}  {len(report.data)} bytes{about}")


async def _overview(opened: Feed) -> dict[str, Any]:
    sessions = await opened.sessions()
    last = await opened.last_reports()
    owners, contenders = await opened.owners(), await opened.contenders()
    rows = []
    for vif in await opened.vifs():
        deliveries = await opened.deliveries(vif)
        live = [delivery for delivery in deliveries if not delivery.document.deleted]
        owner = owners.get(vif)
        gone = owner is not None and not owner.alive
        session = None if gone else sessions.get(vif)  # what it wrote is not the state now
        rows.append(
            {
                "vif": vif,
                "host": owner.host if owner else "",
                "served": owner is not None and owner.alive,
                "contenders": sorted(
                    s.host for s in contenders.get(vif, ()) if not owner or s.host != owner.host
                ),
                "state": session.state.value if session else ("UNKNOWN" if gone else "DETACHED"),
                "reason": session.reason if session else "",
                "since": time_of(session.since_unix_ns) if session else None,
                "since_unix_ns": session.since_unix_ns if session else 0,
                "address": session.address if session else "",
                "version": session.version if session else 0,
                "agent": session.agent if session else "",
                "documents": len(live),
                "acknowledged": sum(d.acknowledged >= d.document.revision for d in live),
                "pending": sum(not delivery.settled for delivery in deliveries),
                "errors": {d.document.key: d.error for d in deliveries if d.error},
                "last_report": report_object(last[vif]) if vif in last else None,
            }
        )
    return {"vms": rows}
