# SPDX-License-Identifier: Apache-2.0
"""The verb that shows what VMs told: reports."""

from typing import Annotated

import typer

from hvchannel_daemons import content
from hvchannel_daemons.command_output import print_json, report_object, time_of, with_feed
from hvchannel_daemons.feed_options import FeedAt, Json, Vif, takes_feed


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
