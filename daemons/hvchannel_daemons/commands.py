# SPDX-License-Identifier: Apache-2.0
"""The control plane's verbs of the `hvchannel` command: put, get, delete, wait, and by their own files put-group,
history, watch, import, quota, reports. They speak to the feed only, so they work whether hostd runs or not. Two more,
status and diagnose, ask the controller too."""

import asyncio
import sys
from dataclasses import replace
from typing import Annotated

import typer

from hvchannel_daemons import content
from hvchannel_daemons.command_diagnose import diagnose
from hvchannel_daemons.command_follow import history, watch
from hvchannel_daemons.command_group import put_group
from hvchannel_daemons.command_import import import_documents
from hvchannel_daemons.command_output import (
    delivery_object,
    fail,
    print_json,
    progress,
    state_of,
    with_feed,
)
from hvchannel_daemons.command_quota import quota
from hvchannel_daemons.command_reports import reports
from hvchannel_daemons.command_status import status
from hvchannel_daemons.feed import ContentGone, Delivery, Document, Feed, FeedError, Outcome
from hvchannel_daemons.feed_options import FeedAt, Json, Key, Vif, takes_feed


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.command(epilog="Example: hvchannel put vm1 net/config config.json")(put)
    app.command("put-group", epilog="Example: hvchannel put-group vm1 tls/cert=cert.pem tls/key=key.pem")(
        put_group
    )
    app.command(epilog="Example: hvchannel get vm1 net/config --json")(get)
    app.command(epilog="Example: hvchannel delete vm1 net/config")(delete)
    app.command(epilog="Example: hvchannel wait vm1 net/config --timeout 30")(wait)
    app.command(epilog="Example: hvchannel history vm1 net/config")(history)
    app.command(epilog="Example: hvchannel watch vm1 --json | jq .acknowledged")(watch)
    app.command("import", epilog="Example: hvchannel import documents/ (with documents/vm1/net/config)")(
        import_documents
    )
    app.command(epilog="Example: hvchannel quota vm1 --bytes 256MiB --reports-per-second 10")(quota)
    app.command(
        epilog="Example: hvchannel status --watch. Example: hvchannel status vm1 --json | jq .vifs[0].lag_seconds"
    )(status)
    app.command(epilog="Example: hvchannel diagnose vm1")(diagnose)
    app.command(epilog="Example: hvchannel reports vm1 --json | jq .text")(reports)


@takes_feed
def put(
    vif: Vif,
    key: Key,
    at: FeedAt,
    file: Annotated[str | None, typer.Argument(help="File with the content, or - for stdin.")] = None,
    text: Annotated[str | None, typer.Option(help="The content itself, instead of a file.")] = None,
    content_type: Annotated[
        str | None,
        typer.Option(help="Media type (default: text/plain with --text, else application/octet-stream)."),
    ] = None,
) -> None:
    """Put a document for a VM; prints its revision once it is durable in the feed."""
    if (file is None) == (text is None):
        fail("give the content either as FILE (- for stdin) or by --text", code=2)
    if text is not None:
        data = text.encode()
    else:
        try:
            data = content.from_argument(file or "-")
        except OSError as error:
            fail(f"{file}: {error.strerror}")
    kind = content_type or ("text/plain" if text is not None else "application/octet-stream")
    typer.echo(with_feed(at, lambda opened: opened.put(vif, key, data, kind), create=True))


@takes_feed
def get(
    vif: Vif,
    key: Key,
    at: FeedAt,
    revision: Annotated[
        int | None, typer.Option(min=1, help="An earlier one, as `hvchannel history` lists them.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a document's content; on stderr its revision and how far it has come (with --json:
    all in one object). An earlier revision is there as long as `hvchannel history` lists it, its content
    when it is no larger than 256 KiB."""

    async def work(opened: Feed) -> tuple[Delivery, bytes]:
        delivery = await opened.delivery(vif, key)
        if delivery is None or (delivery.document.deleted and not as_json and revision is None):
            raise FeedError(f"VIF {vif} has no document {key}")
        if revision is not None:
            delivery = replace(delivery, document=await _earlier(opened, vif, key, revision))
        try:
            return delivery, await opened.content(delivery.document)
        except ContentGone:
            raise FeedError(
                f"VIF {vif}: the content of {key} was replaced and is not kept; get it again"
            ) from None

    delivery, data = with_feed(at, work)
    if as_json:
        print_json(delivery_object(delivery) | ({} if delivery.document.deleted else content.as_json(data)))
        return
    typer.echo(f"{key}: revision {delivery.document.revision}, {progress(delivery)}", err=True)
    sys.stdout.buffer.write(data)


@takes_feed
def delete(vif: Vif, key: Key, at: FeedAt) -> None:
    """Delete a document, in the feed at once and in the VM as soon as it is reached;
    prints the tombstone's revision."""
    revision = with_feed(at, lambda opened: opened.delete(vif, key))
    if revision is None:
        fail(f"VIF {vif} has no document {key}")
    typer.echo(revision)


@takes_feed
def wait(
    vif: Vif,
    key: Key,
    at: FeedAt,
    revision: Annotated[int | None, typer.Option(min=1, help="Which one (default: the newest).")] = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds.")] = 30.0,
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
            where = state_of(session, await opened.owner(vif))
            raise FeedError(
                f"VIF {vif}: {key} revision {wanted} is not acknowledged after {timeout:g} s; session {where}"
            ) from error

    delivery = with_feed(at, work)
    if delivery.outcome is Outcome.REJECTED and delivery.acknowledged < delivery.document.revision:
        fail(f"VIF {vif} rejected {key} revision {delivery.answered}: {delivery.error}")
    typer.echo(delivery.acknowledged)


async def _earlier(feed: Feed, vif: str, key: str, revision: int) -> Document:
    """Raises FeedError when the feed does not remember it, or it is a deletion."""
    known = {document.revision: document for document in await feed.history(vif, key)}
    if revision not in known:
        valid = ", ".join(map(str, sorted(known)))
        raise FeedError(f"VIF {vif}: the feed has no revision {revision} of {key} (valid: {valid})")
    if known[revision].deleted:
        raise FeedError(f"VIF {vif}: revision {revision} of {key} is its deletion")
    return known[revision]
