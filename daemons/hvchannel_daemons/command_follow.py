# SPDX-License-Identifier: Apache-2.0
"""The verbs that show documents over time: history, watch."""

from typing import Annotated

import typer

from hvchannel_daemons.command_output import (
    delivery_object,
    document_object,
    fail,
    print_json,
    progress,
    time_of,
    with_feed,
)
from hvchannel_daemons.feed import Delivery, Document, Feed
from hvchannel_daemons.feed_options import FeedAt, Json, Key, Vif, takes_feed


@takes_feed
def history(vif: Vif, key: Key, at: FeedAt, as_json: Json = False) -> None:
    """Print the revisions of a document that the feed remembers, newest first, deletions too; at most 16.
    `hvchannel get --revision` prints the content of one."""
    found = with_feed(at, lambda opened: opened.history(vif, key))
    if not found:
        fail(f"VIF {vif} has no document {key}")
    for document in found:
        if as_json:
            print_json(document_object(document))
        else:
            typer.echo(f"{document.revision}  {time_of(document.put_unix_ns)}  {_what(document)}")


@takes_feed
def watch(
    vif: Vif,
    at: FeedAt,
    key: Annotated[str | None, typer.Argument(help="One document only.")] = None,
    after: Annotated[
        int, typer.Option(min=0, help="Only documents changed after this position, which --json shows.")
    ] = 0,
    count: Annotated[
        int | None, typer.Option(min=1, help="End after so many lines (default: at Ctrl-C).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print how far each document of a VM is, then a line whenever one is put or deleted or the VM answers."""

    async def work(opened: Feed) -> None:
        left = count
        async for delivery in opened.watch(vif, after=after):
            if key is not None and delivery.document.key != key:
                continue
            _show(delivery, as_json)
            if left is not None:
                left -= 1
                if left == 0:
                    return

    with_feed(at, work)


def _show(delivery: Delivery, as_json: bool) -> None:
    document = delivery.document
    if as_json:
        print_json(delivery_object(delivery) | {"position": document.position})
        return
    typer.echo(f"{document.key}  revision {document.revision}  {_what(document)}  {progress(delivery)}")


def _what(document: Document) -> str:
    if document.deleted:
        return "deleted"
    kind = f" {document.content_type}" if document.content_type else ""
    return f"{document.size} bytes{kind}  sha256 {document.sha256.hex()[:12]}"
