# SPDX-License-Identifier: Apache-2.0
"""The verb that shows how every VIF is: status."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.live import Live

from hvchannel_daemons.command_output import fail, need_feed, print_json
from hvchannel_daemons.feed_options import FeedAt, Json, takes_feed
from hvchannel_daemons.status.overview import Overview, look
from hvchannel_daemons.status.show import as_json, table

_PIPE_WIDTH: Final = 240  # where no terminal sets a width, nothing is to be cut off
_REDRAW_SECONDS: Final = 1.0

ControlSockets = Annotated[
    list[Path] | None,
    typer.Option(
        "--socket",
        "-s",
        envvar="HVCHANNEL_CONTROL",
        help="The controller's local API; one for each hypervisor (in the variable with : between).",
    ),
]


@takes_feed
def status(
    at: FeedAt,
    vif: Annotated[str | None, typer.Argument(help="Only this VIF.")] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Only VIFs whose session is at this hypervisor.")
    ] = None,
    socket: ControlSockets = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Stay, and show what changes, until Ctrl-C.")
    ] = False,
    as_object: Json = False,
) -> None:
    """Show how every VIF is: its link, whether the vSwitch's tables hold it, its LIP, its session, how many of
    its documents have arrived and how late the oldest other is, its last error.

    Exits 0 when every VIF is READY and has all that it is to have, else 1. What cannot be asked (the feed, the
    controller) is named below the table; the rest is shown all the same.
    """
    need_feed(at)

    async def once() -> Overview:
        return await look(lambda: at.open(create=False), socket or [], vif=vif, host=host)

    try:
        if watch:
            _watch(once, as_object)
            return
        overview = asyncio.run(once())
    except ValueError as error:
        fail(error, code=2)
    except KeyboardInterrupt:
        raise typer.Exit(0 if watch else 130) from None
    if vif is not None and not overview.rows and not overview.missing:
        fail(f"no VIF {vif} is attached, and the feed has nothing of it")
    if as_object:
        print_json(as_json(overview))
    else:
        console().print(table(overview))
    if not overview.well:
        raise typer.Exit(1)


def console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)


def _watch(once: Callable[[], Any], as_object: bool) -> None:
    """Raises KeyboardInterrupt."""

    async def follow(show: Callable[[Overview], None]) -> None:
        while True:
            show(await once())
            await asyncio.sleep(_REDRAW_SECONDS)

    if as_object or not sys.stdout.isatty():
        asyncio.run(follow(_Changes(as_object).show))
        return
    with Live(console=console(), auto_refresh=False) as live:
        asyncio.run(follow(lambda overview: live.update(table(overview), refresh=True)))


class _Changes:
    """Prints an overview when it differs from the last: in more than ages."""

    def __init__(self, as_object: bool) -> None:
        self._as_object = as_object
        self._last: Any = None

    def show(self, overview: Overview) -> None:
        told = as_json(overview)
        compared = {**told, "vifs": [{**row, "lag_seconds": 0} for row in told["vifs"]]}
        if compared == self._last:
            return
        self._last = compared
        if self._as_object:
            print_json(told)
        else:
            console().print(table(overview))
        sys.stdout.flush()
