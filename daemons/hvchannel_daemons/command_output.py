# SPDX-License-Identifier: Apache-2.0
"""How the feed's verbs open the feed, and show what they found: to people, and as JSON to programs."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

import typer

from hvchannel_daemons.feed import Delivery, Document, Feed, FeedError, Owner, Session, StoredReport
from hvchannel_daemons.feed.location import FORMS
from hvchannel_daemons.feed_options import FeedAt

T = TypeVar("T")


def with_feed(at: FeedAt, work: Callable[[Feed], Awaitable[T]], *, create: bool = False) -> T:
    """Opens the feed, runs `work`, closes it; what goes wrong becomes one line and an exit code."""
    need_feed(at)

    async def opened() -> T:
        feed = await at.open(create=create)
        try:
            return await work(feed)
        finally:
            await feed.close()

    try:
        return asyncio.run(opened())
    except FeedError as error:
        fail(error)
    except ValueError as error:
        fail(error, code=2)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def need_feed(at: FeedAt) -> None:
    """Ends the command when no feed was named."""
    if not at.where:
        fail(f"which feed? give --feed ({FORMS}) or set HVCHANNEL_FEED", code=2)


def progress(delivery: Delivery) -> str:
    if delivery.acknowledged >= delivery.document.revision:
        return "acknowledged"
    held = f"the VM holds revision {delivery.acknowledged}" if delivery.acknowledged else "not in the VM yet"
    return f"{held} ({delivery.outcome}: {delivery.error})" if delivery.error else held


def state_of(session: Session | None, owner: Owner | None) -> str:
    if owner is not None and not owner.alive:
        return f"unknown: hostd of {owner.host} is not running"
    if session is None:
        return "DETACHED: no hostd serves the VIF (is it attached somewhere, and hostd running there?)"
    return f"{session.state}: {session.reason}" if session.reason else session.state.value


def delivery_object(delivery: Delivery) -> dict[str, Any]:
    said = {"acknowledged": delivery.acknowledged, "outcome": delivery.outcome, "error": delivery.error}
    return document_object(delivery.document) | said


def document_object(document: Document) -> dict[str, Any]:
    return {
        "vif": document.vif,
        "key": document.key,
        "revision": document.revision,
        "deleted": document.deleted,
        "content_type": document.content_type,
        "size": document.size,
        "sha256": document.sha256.hex(),
        "put": time_of(document.put_unix_ns),
        "group": document.group or None,
    }


def report_object(stored: StoredReport) -> dict[str, Any]:
    report = stored.report
    return {
        "number": stored.number,
        "stored": time_of(stored.stored_unix_ns),
        "stored_unix_ns": stored.stored_unix_ns,
        "sequence": report.sequence,
        "type": report.type,
        "content_type": report.content_type,
        "queued": time_of(report.time_unix_ns),
        "about_key": report.about_key,
        "about_revision": report.about_revision,
    }


def time_of(unix_ns: int) -> str:
    try:
        return datetime.fromtimestamp(unix_ns / 1e9, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError):  # a guest's clock says what it likes
        return f"{unix_ns} ns"


def ago(unix_ns: int) -> str:
    if unix_ns == 0:
        return ""
    seconds = max(0, time.time() - unix_ns / 1e9)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value))


def fail(error: object, *, code: int = 1) -> NoReturn:
    typer.echo(f"hvchannel: {error}", err=True)
    raise typer.Exit(code)
