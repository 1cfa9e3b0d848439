# SPDX-License-Identifier: Apache-2.0
"""`hvchannel quota`: what a VIF may use, and what it uses."""

import re
from dataclasses import asdict, replace
from typing import Annotated, Any, Final

import typer

from hvchannel_daemons.command_output import fail, print_json, with_feed
from hvchannel_daemons.feed import Feed, Quota, Usage
from hvchannel_daemons.feed_options import FeedAt, Json, Vif, takes_feed

_UNITS: Final = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}


@takes_feed
def quota(
    vif: Vif,
    at: FeedAt,
    bytes_: Annotated[
        str | None,
        typer.Option("--bytes", metavar="SIZE", help="Of its documents together, such as 256MiB."),
    ] = None,
    documents: Annotated[int | None, typer.Option(help="How many it may have.")] = None,
    reports_per_second: Annotated[
        float | None,
        typer.Option(help="Of its guest, in the long run; a burst of four seconds' worth is let in."),
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="First back to the default.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a VM may use of the feed and what it uses; with options, change it first.

    A put beyond it is refused. Documents that are there stay when the quota is made smaller. A guest that sends more
    reports is slowed: nothing it was told to be stored is lost. The default is 1 GiB, 16384 documents and 50 reports
    per second.
    """
    said: dict[str, Any] = {
        "bytes": None if bytes_ is None else _size(bytes_),
        "documents": documents,
        "reports_per_second": reports_per_second,
    }
    changes = {name: value for name, value in said.items() if value is not None}

    async def work(feed: Feed) -> tuple[Quota, Usage]:
        now = Quota() if default else await feed.quota(vif)
        if changes:
            await feed.set_quota(vif, replace(now, **changes))
        elif default:
            await feed.set_quota(vif, None)
        return await feed.quota(vif), await feed.usage(vif)

    may, uses = with_feed(at, work, create=bool(changes))
    if as_json:
        print_json({"vif": vif, "quota": asdict(may), "used": asdict(uses)})
        return
    typer.echo(f"bytes               {uses.bytes} of {may.bytes} ({_shown(may.bytes)})")
    typer.echo(f"documents           {uses.documents} of {may.documents}")
    typer.echo(f"reports per second  {may.reports_per_second:g}")


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+)\s*([KMGT]iB|)", text)
    if found is None:
        fail(f"size {text!r} is not valid (valid: a number of bytes, or such as 256MiB)", code=2)
    return int(found[1]) * _UNITS[found[2]]


def _shown(size: int) -> str:
    for unit, factor in reversed(_UNITS.items()):
        if size >= factor:
            return f"{size / factor:.4g} {unit or 'bytes'}"
    return f"{size} bytes"
