# SPDX-License-Identifier: Apache-2.0
"""The control plane's verbs of the `hvchannel` command: put, get, delete, wait, vms, reports. They speak to
the feed only, so they work whether hostd runs or not."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from hvchannel_daemons import content
from hvchannel_daemons.feed import Delivery, Feed, FeedError, Outcome, Session, StoredReport, open_feed

T = TypeVar("T")

FeedOption = Annotated[
    str,
    typer.Option(
        "--feed", envvar="HVCHANNEL_FEED", help="The feed: path of an SQLite file.", show_default=False
    ),
]
Vif = Annotated[str, typer.Argument(help="The VIF id, such as vm1.")]
Key = Annotated[str, typer.Argument(help="The document's key, such as net/config.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.command(epilog="Example: hvchannel put vm1 net/config config.json")(put)
    app.command(epilog="Example: hvchannel get vm1 net/config --json")(get)
    app.command(epilog="Example: hvchannel delete vm1 net/config")(delete)
    app.command(epilog="Example: hvchannel wait vm1 net/config --timeout 30")(wait)
    app.command(epilog="Example: hvchannel vms --json")(vms)
    app.command(epilog="Example: hvchannel reports vm1 --json | jq .text")(reports)


def put(
    vif: Vif,
    key: Key,
    file: Annotated[str | None, typer.Argument(help="File with the content, or - for stdin.")] = None,
    text: Annotated[str | None, typer.Option(help="The content itself, instead of a file.")] = None,
    content_type: Annotated[
        str | None,
        typer.Option(help="Media type (default: text/plain with --text, else application/octet-stream)."),
    ] = None,
    feed: FeedOption = "",
) -> None:
    """Put a document for a VM; prints its revision once it is durable in the feed."""
    if (file is None) == (text is None):
        _fail("give the content either as FILE (- for stdin) or by --text", code=2)
    if text is not None:
        data = text.encode()
    else:
        try:
            data = content.from_argument(file or "-")
        except OSError as error:
            _fail(f"{file}: {error.strerror}")
    kind = content_type or ("text/plain" if text is not None else "application/octet-stream")
    typer.echo(_with_feed(feed, lambda opened: opened.put(vif, key, data, kind), create=True))


def get(vif: Vif, key: Key, feed: FeedOption = "", as_json: Json = False) -> None:
    """Print a document's content; on stderr its revision and how far it has come (with --json:
    all in one object)."""

    async def work(opened: Feed) -> tuple[Delivery, bytes]:
        delivery = await opened.delivery(vif, key)
        if delivery is None or (delivery.document.deleted and not as_json):
            raise FeedError(f"VIF {vif} has no document {key}")
        return delivery, await opened.content(delivery.document)

    delivery, data = _with_feed(feed, work)
    if as_json:
        _print_json(_delivery(delivery) | ({} if delivery.document.deleted else content.as_json(data)))
        return
    typer.echo(f"{key}: revision {delivery.document.revision}, {_progress(delivery)}", err=True)
    sys.stdout.buffer.write(data)


def delete(vif: Vif, key: Key, feed: FeedOption = "") -> None:
    """Delete a document, in the feed at once and in the VM as soon as it is reached;
    prints the tombstone's revision."""
    revision = _with_feed(feed, lambda opened: opened.delete(vif, key))
    if revision is None:
        _fail(f"VIF {vif} has no document {key}")
    typer.echo(revision)


def wait(
    vif: Vif,
    key: Key,
    revision: Annotated[int | None, typer.Option(min=1, help="Which one (default: the newest).")] = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds.")] = 30.0,
    feed: FeedOption = "",
) -> None:
    """Wait until the VM has acknowledged a revision (or a newer one); prints the revision it holds."""

    async def work(opened: Feed) -> Delivery:
        delivery = await opened.delivery(vif, key)
        if delivery is None:
            raise FeedError(f"VIF {vif} has no document {key}")
        wanted = delivery.document.revision if revision is None else revision
        try:
            async with asyncio.timeout(timeout):
                return await opened.settled(vif, key, wanted)
        except TimeoutError as error:
            session = (await opened.sessions()).get(vif)
            where = _state(session, served=await opened.served())
            raise FeedError(
                f"VIF {vif}: {key} revision {wanted} is not acknowledged after {timeout:g} s; session {where}"
            ) from error

    delivery = _with_feed(feed, work)
    if delivery.outcome is Outcome.REJECTED and delivery.acknowledged < delivery.document.revision:
        _fail(f"VIF {vif} rejected {key} revision {delivery.answered}: {delivery.error}")
    typer.echo(delivery.acknowledged)


def vms(feed: FeedOption = "", as_json: Json = False) -> None:
    """Show every VM: its session, how many of its documents have arrived, its last report."""
    overview = _with_feed(feed, _overview)
    if as_json:
        _print_json(overview)
        return
    table = Table("VIF", "session", "since", "documents", "acknowledged", "last report")
    for row in overview["vms"]:
        state = row["state"] + (f": {row['reason']}" if row["reason"] else "")
        report = row["last_report"]
        table.add_row(
            row["vif"],
            state,
            _ago(row["since_unix_ns"]),
            str(row["documents"]),
            f"{row['acknowledged']} ({len(row['errors'])} errors)"
            if row["errors"]
            else str(row["acknowledged"]),
            f"{report['type']} {_ago(report['stored_unix_ns'])}" if report else "",
        )
    Console().print(table)
    if not overview["served"]:
        typer.echo("hostd is not running", err=True)


def reports(
    vif: Vif,
    after: Annotated[int, typer.Option(min=0, help="Only those with a greater number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 1000,
    feed: FeedOption = "",
    as_json: Json = False,
) -> None:
    """Print the reports of a VM, oldest first (with --json: one object per line, with their data)."""
    for stored in _with_feed(feed, lambda opened: opened.reports(vif, after=after, limit=limit)):
        if as_json:
            _print_json(_report(stored) | content.as_json(stored.report.data))
            continue
        report = stored.report
        about = f"  about {report.about_key} revision {report.about_revision}" if report.about_key else ""
        when = _time(stored.stored_unix_ns)
        typer.echo(f"{stored.number}  {when}  {report.type}  {len(report.data)} bytes{about}")


async def _overview(opened: Feed) -> dict[str, Any]:
    sessions = await opened.sessions()
    last = await opened.last_reports()
    served = await opened.served()
    rows = []
    for vif in await opened.vifs():
        deliveries = await opened.deliveries(vif)
        live = [delivery for delivery in deliveries if not delivery.document.deleted]
        session = (
            sessions.get(vif) if served else None
        )  # what a hostd wrote that is gone is not the state now
        rows.append(
            {
                "vif": vif,
                "state": session.state.value if session else ("DETACHED" if served else "UNKNOWN"),
                "reason": session.reason if session else "",
                "since": _time(session.since_unix_ns) if session else None,
                "since_unix_ns": session.since_unix_ns if session else 0,
                "address": session.address if session else "",
                "version": session.version if session else 0,
                "agent": session.agent if session else "",
                "documents": len(live),
                "acknowledged": sum(d.acknowledged >= d.document.revision for d in live),
                "pending": sum(not delivery.settled for delivery in deliveries),
                "errors": {d.document.key: d.error for d in deliveries if d.error},
                "last_report": _report(last[vif]) if vif in last else None,
            }
        )
    return {"served": served, "vms": rows}


def _with_feed(where: str, work: Callable[[Feed], Awaitable[T]], *, create: bool = False) -> T:
    """Opens the feed, runs `work`, closes it; what goes wrong becomes one line and an exit code."""
    if not where:
        _fail("which feed? give --feed PATH or set HVCHANNEL_FEED", code=2)

    async def opened() -> T:
        feed = await open_feed(where, create=create)
        try:
            return await work(feed)
        finally:
            await feed.close()

    try:
        return asyncio.run(opened())
    except FeedError as error:
        _fail(error)
    except ValueError as error:
        _fail(error, code=2)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _progress(delivery: Delivery) -> str:
    if delivery.acknowledged >= delivery.document.revision:
        return "acknowledged"
    held = f"the VM holds revision {delivery.acknowledged}" if delivery.acknowledged else "not in the VM yet"
    return f"{held} ({delivery.outcome}: {delivery.error})" if delivery.error else held


def _state(session: Session | None, *, served: bool) -> str:
    if not served:
        return "unknown: hostd is not running"
    if session is None:
        return "DETACHED: the controller has no such VIF"
    return f"{session.state}: {session.reason}" if session.reason else session.state.value


def _delivery(delivery: Delivery) -> dict[str, Any]:
    document = delivery.document
    return {
        "vif": document.vif,
        "key": document.key,
        "revision": document.revision,
        "acknowledged": delivery.acknowledged,
        "outcome": delivery.outcome,
        "error": delivery.error,
        "deleted": document.deleted,
        "content_type": document.content_type,
        "size": document.size,
        "sha256": document.sha256.hex(),
        "put": _time(document.put_unix_ns),
    }


def _report(stored: StoredReport) -> dict[str, Any]:
    report = stored.report
    return {
        "number": stored.number,
        "stored": _time(stored.stored_unix_ns),
        "stored_unix_ns": stored.stored_unix_ns,
        "sequence": report.sequence,
        "type": report.type,
        "content_type": report.content_type,
        "queued": _time(report.time_unix_ns),
        "about_key": report.about_key,
        "about_revision": report.about_revision,
    }


def _time(unix_ns: int) -> str:
    try:
        return datetime.fromtimestamp(unix_ns / 1e9, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError):  # a guest's clock says what it likes
        return f"{unix_ns} ns"


def _ago(unix_ns: int) -> str:
    if unix_ns == 0:
        return ""
    seconds = max(0, time.time() - unix_ns / 1e9)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value))


def _fail(error: object, *, code: int = 1) -> NoReturn:
    typer.echo(f"hvchannel: {error}", err=True)
    raise typer.Exit(code)
