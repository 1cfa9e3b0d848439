# SPDX-License-Identifier: Apache-2.0
"""`hvchannel put-group`: several documents that the VM's programs see together or not at all."""

from typing import Annotated

import typer

from hvchannel_daemons import content, limits
from hvchannel_daemons.command_output import fail, with_feed
from hvchannel_daemons.feed import Member
from hvchannel_daemons.feed_options import FeedAt, Vif, takes_feed


@takes_feed
def put_group(
    vif: Vif,
    at: FeedAt,
    documents: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=FILE]...", help="Documents and the files with their contents."),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(metavar="KEY=TEXT", help="A document and its content itself.")
    ] = None,
    delete: Annotated[list[str] | None, typer.Option(metavar="KEY", help="A document to delete.")] = None,
    content_type: Annotated[
        str | None,
        typer.Option(
            help="Media type of all (default: text/plain for --text, else application/octet-stream)."
        ),
    ] = None,
) -> None:
    """Put and delete several documents of a VM as one; prints each key and its revision.

    The VM's programs see all of it or nothing: in the watch of its guestd, in its files and after a crash of either
    side. A member that a later put replaces goes its own way; the others are still seen together. At most 64 documents
    and 64 MiB. A guestd that speaks version 1 of the protocol gets them one by one.
    """
    try:
        members = [
            *(_of_file(said, content_type) for said in documents or ()),
            *(_of_text(said, content_type) for said in text or ()),
            *(Member(limits.check_key(key), None) for key in delete or ()),
        ]
    except ValueError as error:
        fail(error, code=2)
    if not members:
        fail("no documents (valid: KEY=FILE, --text KEY=TEXT, --delete KEY)", code=2)
    for key, revision in with_feed(at, lambda feed: feed.put_group(vif, members), create=True).items():
        typer.echo(f"{key} {revision}")


def _of_file(said: str, content_type: str | None) -> Member:
    key, file = _split(said, "KEY=FILE")
    try:
        data = content.from_argument(file)
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    return Member(key, data, content_type or "application/octet-stream")


def _of_text(said: str, content_type: str | None) -> Member:
    key, text = _split(said, "KEY=TEXT")
    return Member(key, text.encode(), content_type or "text/plain")


def _split(said: str, form: str) -> tuple[str, str]:
    key, separator, value = said.partition("=")
    if not separator:
        raise ValueError(f"{said!r} is not {form}")
    return limits.check_key(key), value
