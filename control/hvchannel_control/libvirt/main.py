# SPDX-License-Identifier: Apache-2.0
"""`hvchannel-libvirt`: what libvirt's hook runs, the watcher for what calls no hook, and a check of a domain's XML."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from hvchannel_control.client import ControlClient
from hvchannel_control.libvirt import hook as hooks
from hvchannel_control.libvirt import syslog
from hvchannel_control.libvirt.attaching import Attaching
from hvchannel_control.libvirt.domain import DomainError, parse
from hvchannel_control.libvirt.hook import OnFailure
from hvchannel_control.libvirt.owners import Owners

app = typer.Typer(
    help="libvirt's domains on the channel: their VIFs are attached as they start, detached as they stop.",
    epilog="Example: virsh dumpxml vm1 | hvchannel-libvirt check",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

SocketOption = Annotated[
    Path, typer.Option("--socket", "-s", envvar="HVCHANNEL_CONTROL", help="The host controller's local API.")
]
StateOption = Annotated[
    Path,
    typer.Option(envvar="HVCHANNEL_LIBVIRT_STATE", help="Folder that keeps which VIF is which domain's."),
]
WithinOption = Annotated[
    float,
    typer.Option(
        envvar="HVCHANNEL_WITHIN", min=0.1, max=600, help="Seconds in which the controller must answer."
    ),
]
_SOCKET, _STATE = Path("/run/hvchannel-control/control.sock"), Path("/var/lib/hvchannel-libvirt")


@app.command(
    epilog="Example: virsh dumpxml vm1 | hvchannel-libvirt hook vm1 prepare begin -. It is called by "
    "packaging/libvirt/hvchannel, which belongs into /etc/libvirt/hooks/qemu.d."
)
def hook(
    domain: Annotated[str, typer.Argument(help="The domain's name.")],
    operation: Annotated[
        str, typer.Argument(help="prepare, start, started, stopped, release, reconnect ...")
    ],
    sub_operation: Annotated[str, typer.Argument(help="begin or end.")] = "-",
    extra: Annotated[str, typer.Argument(help="Why it stopped, or -.")] = "-",
    socket: SocketOption = _SOCKET,
    state: StateOption = _STATE,
    within: WithinOption = 5.0,
    on_failure: Annotated[
        OnFailure,
        typer.Option(
            envvar="HVCHANNEL_ON_FAILURE",
            help="A domain whose VIFs cannot be attached: starts all the same, or is refused.",
        ),
    ] = OnFailure.START,
) -> None:
    """What libvirt's qemu hook does at one call, with the domain's XML on stdin.

    prepare attaches the domain's VIFs, start sets its taps apart from the hypervisor's own stack, release detaches,
    reconnect (libvirt was restarted) makes up for what was missed. All else does nothing. What goes wrong is told on
    stderr and in the system's log; the exit code is 0 all the same, unless --on-failure refuse and the operation is
    prepare or start.
    """
    say = syslog.sayer()
    done = False
    try:
        with ExitStack() as stack:
            done = hooks.run(
                operation, sys.stdin.read(), lambda: _attaching(stack, socket, state, within, say), say
            )
    except Exception as error:  # a domain must not fail to start, or be killed, for a defect of ours
        say(f"domain {domain!r}: {operation}: {error!r}")
    if not done and on_failure is OnFailure.REFUSE and operation in hooks.MAY_REFUSE:
        raise typer.Exit(1)


@app.command(epilog="Example: hvchannel-libvirt watch --connect qemu:///system")
def watch(
    connect: Annotated[
        str, typer.Option(envvar="LIBVIRT_DEFAULT_URI", help="Which libvirt.")
    ] = "qemu:///system",
    socket: SocketOption = _SOCKET,
    state: StateOption = _STATE,
    within: WithinOption = 5.0,
    every: Annotated[
        float,
        typer.Option(min=0.2, max=86400, help="Seconds between two looks when libvirt tells of nothing."),
    ] = 60.0,
    log_level: Annotated[str, typer.Option(help="Log this and what is graver.")] = "info",
    log_json: Annotated[
        bool | None,
        typer.Option("--log-json/--no-log-json", help="Default: JSON unless stderr is a terminal."),
    ] = None,
) -> None:
    """Follow libvirt's events until SIGTERM or SIGINT: interfaces that are plugged and unplugged while a domain runs,
    for which libvirt calls no hook, and what a hook could not do because no controller answered."""
    import structlog  # noqa: PLC0415 - a hook need not load all this

    from hvchannel_control import logs  # noqa: PLC0415
    from hvchannel_control.libvirt.virsh import Virsh  # noqa: PLC0415
    from hvchannel_control.libvirt.watch import Watch  # noqa: PLC0415

    try:
        logs.configure(log_level, log_json)
    except ValueError as error:
        _fail(str(error), code=2)
    log = structlog.get_logger()
    with ExitStack() as stack:
        try:
            attaching = _attaching(stack, socket, state, within, lambda text: log.info("changed", what=text))
            watching = Watch(Virsh(connect), attaching, Owners(state), every)
        except OSError as error:
            _fail(str(error), code=1)
        asyncio.run(_until_signal(watching.run()))


@app.command(epilog="Example: virsh dumpxml vm1 | hvchannel-libvirt check; hvchannel-libvirt check vm1.xml")
def check(
    file: Annotated[str, typer.Argument(help="A domain's XML, or - for stdin.")] = "-",
) -> None:
    """Say what would be attached for a domain, and what of its XML is not valid. Exits 1 when nothing would be."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        domain = parse(text)
    except OSError as error:
        _fail(f"{file}: {error.strerror}", code=1)
    except (DomainError, UnicodeDecodeError) as error:
        _fail(str(error), code=1)
    for vif in domain.vifs:
        if not vif.is_plugged:
            names = ", ".join(domain.interfaces) or "none"
            typer.echo(
                f"VIF {vif.vif_id}: no interface with the target device {vif.interface} (there: {names})"
            )
            continue
        port = f"port {vif.port}" if vif.port else f"the port of {vif.interface}"
        vni, vlan = (str(number or "the default") for number in (vif.vni, vif.vlan))
        typer.echo(f"VIF {vif.vif_id}: MAC {vif.mac} at {port}, VNI {vni}, VLAN {vlan}")
    if not domain.plugged:
        _fail(f"domain {domain.name!r}: nothing to attach (packaging/libvirt/domain.xml shows how)", code=1)


def _attaching(
    stack: ExitStack, socket: Path, state: Path, within: float, say: Callable[[str], None]
) -> Attaching:
    """Raises OSError."""
    client = stack.enter_context(ControlClient(socket, timeout=within))
    return Attaching(client, Owners(state), within, say)


async def _until_signal(work: Coroutine[None, None, None]) -> None:
    task = asyncio.create_task(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"hvchannel-libvirt: {message}", err=True)
    raise typer.Exit(code)


def main() -> None:
    """Entry point. Exits with 0, 1 when something failed, 2 for a wrong command line."""
    app()


if __name__ == "__main__":
    main()
