# SPDX-License-Identifier: Apache-2.0
"""The verb that finds where the channel to a VIF is broken: diagnose."""

import asyncio
import socket as sockets
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from hvchannel_daemons.command_output import fail, need_feed, print_json
from hvchannel_daemons.command_status import ControlSockets, console
from hvchannel_daemons.diagnosis.evidence import Where, gather
from hvchannel_daemons.diagnosis.hops import Diagnosis, State
from hvchannel_daemons.diagnosis.walk import walk
from hvchannel_daemons.feed_options import FeedAt, Json, Vif, takes_feed

_STYLES: Final = {State.OK: "green", State.BROKEN: "bold red", State.UNKNOWN: "yellow"}


@takes_feed
def diagnose(
    vif: Vif,
    at: FeedAt,
    socket: ControlSockets = None,
    guest_control: Annotated[
        str | None,
        typer.Option(
            envvar="HVCHANNEL_GUEST_CONTROL",
            help="The local API of the guest's own controller, where it can be reached from here; {vif} stands for "
            "the VIF's id. It tells a guest vSwitch that is not programmed from one that does not run.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            envvar="HVCHANNEL_HOST", help="This hypervisor's name, as its hostd has it (default: hostname)."
        ),
    ] = None,
    hostd_socket: Annotated[
        Path | None,
        typer.Option(
            envvar="HVCHANNEL_HOSTD", help="hostd's own socket (hostd --socket), to ask it how it is."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find where the channel to a VIF is broken, and say what to do.

    Walks feed, hostd, controller, host vSwitch, VNIC, guest vSwitch, guestd: by what they say, and by a few frames
    that the controller injects with the VIF's VNI as if the hypervisor had sent them (ICMP echo requests and TCP
    SYNs, which harm nobody). Takes a few seconds where nothing comes back. Exits 0 when the channel is healthy,
    else 1.
    """
    need_feed(at)
    where = Where(
        lambda: at.open(create=False),
        at.where,
        host or sockets.gethostname(),
        hostd_socket,
        tuple(socket or ()),
        Path(guest_control.replace("{vif}", vif)) if guest_control else None,
    )
    try:
        diagnosis = walk(asyncio.run(gather(where, vif)))
    except ValueError as error:
        fail(error, code=2)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if as_json:
        print_json(_as_object(diagnosis))
    else:
        _print(console(), diagnosis)
    if not diagnosis.healthy:
        raise typer.Exit(1)


def _print(out: Console, diagnosis: Diagnosis) -> None:
    width = max(len(hop.name) for hop in diagnosis.hops)
    for hop in diagnosis.hops:
        line = Text(f"{hop.state:<8}", style=_STYLES[hop.state])
        out.print(line.append(f"{hop.name:<{width}}  {hop.evidence}", style="default"), soft_wrap=True)
    out.print(Text(verdict(diagnosis), style="bold"), soft_wrap=True)


def verdict(diagnosis: Diagnosis) -> str:
    """One line, or two with the remedy."""
    if diagnosis.broken is not None:
        return f"{diagnosis.vif}: broken at {diagnosis.broken.name}\n  remedy: {diagnosis.broken.remedy}"
    if diagnosis.healthy:
        return f"{diagnosis.vif}: healthy"
    names = ", ".join(hop.name for hop in diagnosis.hops if hop.state is State.UNKNOWN)
    return f"{diagnosis.vif}: nothing broken was found; not known: {names}. Try again in a few seconds"


def _as_object(diagnosis: Diagnosis) -> dict[str, Any]:
    """Documented in docs/status.md."""
    broken = diagnosis.broken
    return {
        "vif": diagnosis.vif,
        "healthy": diagnosis.healthy,
        "broken": broken.name if broken else None,
        "remedy": broken.remedy if broken else "",
        "hops": [
            {"name": hop.name, "state": hop.state.value, "evidence": hop.evidence, "remedy": hop.remedy}
            for hop in diagnosis.hops
        ],
    }
