# SPDX-License-Identifier: Apache-2.0
"""The `hostd` command."""

import asyncio
import ipaddress
import math
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer
from hvchannel_privilege.capabilities import Capability
from hvchannel_privilege.start import give_up
from hvchannel_telemetry.exposition import MetricsAddressError
from hvchannel_telemetry.metrics_options import AllowAny, MetricsAt, PerVif, metrics_address
from hvchannel_telemetry.private_socket import SocketError

from hvchannel_daemons import limits, logs
from hvchannel_daemons.channel import identity
from hvchannel_daemons.channel.tls import TlsError
from hvchannel_daemons.channel_options import ChannelCa, ChannelCert, ChannelKey, ChannelTls, channel_tls
from hvchannel_daemons.feed import FeedError, parse
from hvchannel_daemons.feed.location import FORMS, SqlitePath
from hvchannel_daemons.feed_options import FeedAt, takes_feed
from hvchannel_daemons.hostd import daemon
from hvchannel_daemons.hostd.session import Settings
from hvchannel_daemons.process import run_until_signal

_HEARTBEAT: Final = (0.1, 60.0)  # seconds, as the protocol allows

app = typer.Typer(name="hostd", add_completion=False, pretty_exceptions_enable=False)


@app.command(
    no_args_is_help=True,
    epilog="Example: hostd --control /run/hvchannel/control.sock --feed /var/lib/hvchannel/feed.db "
    "--source 169.254.1.1. Example: hostd --control /run/hvchannel/control.sock --feed "
    "tls://n1:4222,n2:4222,n3:4222/site1 --host hv7 --feed-credentials /etc/hvchannel/hv7.creds",
)
@takes_feed
def hostd(
    control: Annotated[
        Path, typer.Option(help="The controller's unix socket: it says which VIFs there are.")
    ],
    at: FeedAt,
    source: Annotated[
        str | None,
        typer.Option(
            help="The hypervisor's address on the channel: dial only where the route leaves from it."
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="This hypervisor's name, by which the feed tells who serves a VIF (default: the machine's "
            "hostname).",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="TCP port of guestd, at each VIF's LIP.")
    ] = 2345,
    heartbeat: Annotated[
        str,
        typer.Option(
            metavar="SECONDS|auto",
            help="0.1 to 60; a guest silent for three of them is given up. auto: 1 s for up to 100 VIFs, longer for "
            "more of them, 10 s for 1,000.",
        ),
    ] = "auto",
    local_socket: Annotated[
        Path | None,
        typer.Option(
            "--socket",
            help="Serve hostd's health and log level on this unix socket, made with mode 0600.",
            show_default="none",
        ),
    ] = None,
    log_level: Annotated[str, typer.Option(help=f"One of {', '.join(logs.LEVELS)}.")] = "info",
    log_json: Annotated[
        bool | None,
        typer.Option("--log-json/--no-log-json", help="Default: JSON unless stderr is a terminal."),
    ] = None,
    metrics: MetricsAt = None,
    metrics_allow_any: AllowAny = False,
    metrics_per_vif: PerVif = False,
    tls: ChannelTls = None,
    channel_ca: ChannelCa = None,
    channel_cert: ChannelCert = None,
    channel_key: ChannelKey = None,
) -> None:
    """The hypervisor's end of the channel: delivers what the feed holds for each VIF, until SIGTERM or
    SIGINT.

    A feed that is missing is made. It dials each VIF's LIP when the controller announces it, keeps the
    session up, sends what the guest lacks, and records acks, reports and the session's state in the feed.
    """
    try:
        if source is not None:
            ipaddress.ip_address(source)
        every = _heartbeat(heartbeat)
        name = limits.check_host(host if host is not None else socket.gethostname())
        if not at.where:
            raise ValueError(f"which feed? give --feed ({FORMS}) or set HVCHANNEL_FEED")
        at.access.check(parse(at.where))
        metrics_at = metrics_address(metrics, metrics_allow_any)
        channel = channel_tls(tls, channel_ca, channel_cert, channel_key, needs=identity.HYPERVISOR)
        logs.set_up(log_level, log_json)
    except (ValueError, TlsError) as error:
        typer.echo(f"hostd: {error}", err=True)
        raise typer.Exit(2) from error
    settings = Settings(heartbeat_seconds=every, tls=channel)
    options = daemon.Options(
        control,
        at.where,
        port,
        source,
        settings,
        at.access,
        host=name,
        socket=local_socket,
        metrics=metrics_at,
        metrics_per_vif=metrics_per_vif,
    )

    give_up(
        {Capability.NET_ADMIN}, writes=_written(options)
    )  # to have the kernel forget who had a LIP before

    async def serve(stop: asyncio.Event) -> None:
        await daemon.run(options, stop)

    try:
        run_until_signal(serve)
    except (FeedError, SocketError, MetricsAddressError) as error:
        typer.echo(f"hostd: {error}", err=True)
        raise typer.Exit(1) from error


def _written(options: daemon.Options) -> Iterator[Path]:
    """Files and folders that hostd writes to; the controller's socket, too."""
    where = parse(options.feed)
    if isinstance(where, SqlitePath):
        yield from (where.path, where.path.parent)
    yield options.control
    if options.socket is not None:
        yield options.socket.parent
    if options.metrics is not None and options.metrics.path is not None:
        yield options.metrics.path.absolute().parent


def _heartbeat(text: str) -> float | None:
    """Seconds; None: by the number of VIFs. Raises ValueError."""
    if text == "auto":
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not _HEARTBEAT[0] <= seconds <= _HEARTBEAT[1]:
        raise ValueError(f"--heartbeat {text!r} is not valid (valid: 0.1 to 60 seconds, or auto)")
    return seconds


def main() -> None:
    """Entry point of `hostd`."""
    app()
