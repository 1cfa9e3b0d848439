# SPDX-License-Identifier: Apache-2.0
"""`hvchannel`: the lab's verbs, and those of the controller and the feed, for the lab that is up."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from hvchannel_lab import registry
from hvchannel_lab.host_option import CONTROL, Host, HostOption
from hvchannel_lab.targets import Architecture, Engine, FeedEngine, Target, VmKind

_FEED, _LAB = "HVCHANNEL_FEED", "HVCHANNEL_LAB"
_HOST, _HOSTD = "HVCHANNEL_HOST", "HVCHANNEL_HOSTD"
_GUEST_CONTROL = "HVCHANNEL_GUEST_CONTROL"
_STATE_ROOT = Path("state")
_DOWN_WITHIN = 60.0  # seconds
_FEED_VERBS = (
    *("put", "put-group", "get", "delete", "wait", "history", "watch", "import"),
    *("quota", "status", "diagnose", "reports"),
)
_OVER_ALL_HOSTS = ("status", "diagnose")  # verbs that take the controllers of all hypervisors
_OWN_VERBS = (
    *("run", "up", "down", "journey", "trace", "move", "restart", "shell-env"),
    *("metrics", "health", "log-level"),
)


app = typer.Typer(
    help="A generic information channel between a hypervisor and the VMs it runs, over two P4 vSwitches.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Example: hvchannel run --vms 2",
)

NameOption = Annotated[
    str, typer.Option("--name", envvar=_LAB, help="Of the lab; labs of different names run at once.")
]
VmsOption = Annotated[
    int,
    typer.Option("--vms", help="How many VMs, 1 to 64; with several hypervisors on each, 64 at most in all."),
]
HostsOption = Annotated[
    int,
    typer.Option(
        "--hosts",
        help="How many hypervisors, 1 to 8: 'host', or hv1, hv2 and so on. More than one need --feed nats.",
    ),
]
StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="The lab's directory: sockets, logs, traces, feed. Default: state/NAME."),
]
KeepOption = Annotated[
    bool, typer.Option("--keep", help="Start from what the lab before left in the state directory.")
]
TargetOption = Annotated[
    Target,
    typer.Option(
        "--target", help="What runs the P4 programs. bmv2: simple_switch_grpc of PATH, else its container."
    ),
]
EngineOption = Annotated[
    Engine,
    typer.Option(
        "--engine",
        help="What softswitch runs the P4 programs on: the kernel (xdp), the interpreter, "
        "or the kernel if it can (auto).",
    ),
]
ArchOption = Annotated[
    Architecture,
    typer.Option(
        "--arch", help="Of the P4 programs, on softswitch: v1model, or pna, the portable NIC (docs/ports.md)."
    ),
]
FeedOption = Annotated[
    FeedEngine,
    typer.Option("--feed", help="Where documents come from. nats: the lab runs a nats-server of its own."),
]
TlsOption = Annotated[
    bool,
    typer.Option(
        "--channel-tls", help="Mutual TLS on the channel, by certificates of a CA for this lab alone."
    ),
]
VmOption = Annotated[
    VmKind,
    typer.Option(
        "--vm",
        help="What the VMs are. qemu: machines with Debian's kernel and virtio-net, under KVM where it works; "
        "their image is made at the first time.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, progress on stderr.")]


_no_lab: list[str] = []  # why a verb that speaks to a running lab found none
_host_option = HostOption()


@app.callback()
def _find_the_lab(
    context: typer.Context,
    lab: Annotated[
        str,
        typer.Option("--lab", envvar=_LAB, help="The running lab that put, attach and the like are for."),
    ] = registry.DEFAULT_LAB,
) -> None:
    if context.invoked_subcommand in _OWN_VERBS:
        return
    try:
        state = registry.find(lab).state
    except LookupError as error:
        _no_lab.append(str(error))  # no failure: a socket or a feed may be given by option
        return
    _host_option.lab_is(state)
    if context.invoked_subcommand in _OVER_ALL_HOSTS:
        os.environ.setdefault(CONTROL, os.pathsep.join(map(str, _host_option.sockets)))
        if _host_option.is_one:
            folder = _host_option.sockets[0].parent
            os.environ.setdefault(_HOST, folder.name)
            os.environ.setdefault(_HOSTD, str(folder / "hostd.sock"))
    os.environ.setdefault(_GUEST_CONTROL, str(state / "{vif}" / "control.sock"))  # VMs bear their VIFs' names
    from hvchannel_lab import lab_feed  # noqa: PLC0415

    feed = lab_feed.location(state)
    # a feed that an option names is elsewhere, and to be reached from where we are
    named = any(word == "--feed" or word.startswith("--feed=") for word in sys.argv)
    if os.environ.setdefault(_FEED, feed) == feed and not named and context.invoked_subcommand in _FEED_VERBS:
        lab_feed.go_where_it_is(state)


@app.command(
    epilog="Examples: hvchannel run --vms 8 --once --json | jq '.[0].there[4].found'; "
    "hvchannel run --hosts 2 --feed nats --json | jq .moved.steps"
)
def run(
    vms: VmsOption = 2,
    name: NameOption = registry.DEFAULT_LAB,
    state: StateOption = None,
    target: TargetOption = Target.SOFTSWITCH,
    engine: EngineOption = Engine.AUTO,
    architecture: ArchOption = Architecture.V1MODEL,
    feed_engine: FeedOption = FeedEngine.SQLITE,
    channel_tls: TlsOption = False,
    hosts: HostsOption = 1,
    vm_kind: VmOption = VmKind.NAMESPACE,
    once: Annotated[bool, typer.Option("--once", help="End after the journey, on a terminal too.")] = False,
    keep: KeepOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a lab up, deliver a document to each VM, get the answers back, show the journey hop by hop.

    With several hypervisors: how the VIFs stand, a document to each VM, one journey on each hypervisor, then a VM
    that moves from hv1 to hv2 while a document waits for it, and what became of both.

    On a terminal the lab stays up with a live view until Ctrl-C. Exits 1 when something of this cannot be shown,
    and names it.
    """
    from hvchannel_lab.lab_commands import Options, serve  # noqa: PLC0415 (--help need not load all this)

    stay = sys.stdout.isatty() and not once and not as_json
    _exit_with(
        serve(
            Options(
                name,
                _state(state, name),
                vms,
                keep,
                journey=True,
                stay=stay,
                as_json=as_json,
                target=target,
                engine=engine,
                architecture=architecture,
                feed_engine=feed_engine,
                channel_tls=channel_tls,
                hosts=hosts,
                vm_kind=vm_kind,
            )
        )
    )


@app.command(
    epilog="Examples: hvchannel up --vms 4 --target bmv2 &   hvchannel up --hosts 3 --vms 1 --feed nats &"
)
def up(
    vms: VmsOption = 2,
    name: NameOption = registry.DEFAULT_LAB,
    state: StateOption = None,
    target: TargetOption = Target.SOFTSWITCH,
    engine: EngineOption = Engine.AUTO,
    architecture: ArchOption = Architecture.V1MODEL,
    feed_engine: FeedOption = FeedEngine.SQLITE,
    channel_tls: TlsOption = False,
    hosts: HostsOption = 1,
    vm_kind: VmOption = VmKind.NAMESPACE,
    keep: KeepOption = False,
    trace_limit: Annotated[
        int | None,
        typer.Option(min=1, show_default="4000", help="Packets that a vSwitch's trace.jsonl may hold."),
    ] = None,
    workload: Annotated[
        bool,
        typer.Option(
            "--workload/--no-workload",
            help="A program in each VM that answers each document, for `hvchannel journey` to show.",
        ),
    ] = True,
) -> None:
    """Bring a lab up and stay until Ctrl-C or `hvchannel down`, with a live view on a terminal."""
    from hvchannel_lab.lab_commands import Options, serve  # noqa: PLC0415

    _exit_with(
        serve(
            Options(
                name,
                _state(state, name),
                vms,
                keep,
                journey=False,
                stay=True,
                as_json=False,
                trace_limit=trace_limit,
                workload=workload,
                target=target,
                engine=engine,
                architecture=architecture,
                feed_engine=feed_engine,
                channel_tls=channel_tls,
                hosts=hosts,
                vm_kind=vm_kind,
            )
        )
    )


@app.command(epilog="Example: hvchannel down --name other")
def down(name: NameOption = registry.DEFAULT_LAB) -> None:
    """End a running lab, if there is one, and remove what killed labs left behind."""
    _end_lab(name)
    try:
        swept = registry.sweep()
    except OSError as error:
        _fail(str(error))
    for lab, left in swept.items():
        what = f"{len(left.namespaces)} namespaces and {len(left.switches)} vSwitches in the kernel"
        typer.echo(f"lab {lab}: its owner is gone; removed {what} that it left")


@app.command(epilog="Example: hvchannel journey --json")
def journey(name: NameOption = registry.DEFAULT_LAB, as_json: JsonOption = False) -> None:
    """Send a document to each VM of a running lab and show its journey."""
    from hvchannel_lab.lab_commands import show_journey  # noqa: PLC0415

    _exit_with(show_journey(name, as_json))


@app.command(epilog="Example: hvchannel trace vm1")
def trace(
    vif: Annotated[str, typer.Argument(help="The VIF id, such as vm1.")],
    name: NameOption = registry.DEFAULT_LAB,
    trace_file: Annotated[
        Path | None,
        typer.Option(
            help="Where no lab is up: what the host vSwitch's `softswitch --trace-file` writes. Needs --socket."
        ),
    ] = None,
    socket: Annotated[
        Path | None,
        typer.Option("--socket", "-s", help="With --trace-file: the controller's local API."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Follow one real packet of a VIF's channel, there and back.

    At each vSwitch: its ports, its identifier, the tables it hit, its headers before and after. It waits for a packet
    that the channel sends anyway, and disturbs nothing.
    """
    from hvchannel_lab.lab_commands import trace_packet  # noqa: PLC0415

    if trace_file is not None and socket is None:
        raise typer.BadParameter("--trace-file needs --socket, which says at which port the VIF is")
    _exit_with(trace_packet(name, vif, trace_file, socket, as_json))


@app.command(epilog="Example: hvchannel move vm2 hv2")
def move(
    vm: Annotated[str, typer.Argument(help="The VM, such as vm2.")],
    host: Annotated[str, typer.Argument(help="The hypervisor it goes to, such as hv2.")],
    name: NameOption = registry.DEFAULT_LAB,
) -> None:
    """Move a VM to another hypervisor of a running lab, as a live migration would: its programs go on, its VNIC is
    pulled here and plugged in there. Returns when its daemon is reached there."""
    from hvchannel_lab.lab_commands import move_vm  # noqa: PLC0415

    _exit_with(move_vm(name, vm, host))


@app.command(epilog="Example: hvchannel restart vm1/guestd")
def restart(
    process: Annotated[
        str, typer.Argument(help="As in the live view: host/softswitch, vm1/guestd, hv2/hostd.")
    ],
    name: NameOption = registry.DEFAULT_LAB,
    number: Annotated[str, typer.Option("--signal", help="TERM, KILL, ...")] = "TERM",
) -> None:
    """End one process of a running lab, which starts it again."""
    from hvchannel_lab.lab_commands import restart_process  # noqa: PLC0415

    try:
        chosen = signal.Signals[f"SIG{number.upper().removeprefix('SIG')}"]
    except KeyError:
        raise typer.BadParameter(f"--signal: no signal {number!r} (valid: TERM, KILL, INT, ...)") from None
    _exit_with(restart_process(name, process, chosen))


@app.command("shell-env", epilog='Example: eval "$(hvchannel shell-env --name other)"')
def shell_env(name: NameOption = registry.DEFAULT_LAB, host: Host = None) -> None:
    """Print what makes a shell's hvchannel commands speak to one running lab, and with --host to one of its
    hypervisors."""
    try:
        state = registry.find(name).state
        _host_option.lab_is(state)
        control = _host_option.socket(host) if host or _host_option.is_one else None
    except (LookupError, ValueError) as error:
        _fail(str(error))
    typer.echo(f"export {_LAB}={shlex.quote(name)}")
    typer.echo(f"export {CONTROL}={shlex.quote(str(control))}" if control else f"unset {CONTROL}")
    from hvchannel_lab import lab_feed  # noqa: PLC0415

    typer.echo(f"export {_FEED}={shlex.quote(lab_feed.location(state))}")


def _end_lab(name: str) -> None:
    """Asks the owner of a running lab to end, and waits for it."""
    try:
        owner = registry.find(name).owner
    except LookupError:
        return
    os.kill(owner.pid, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_WITHIN
    while owner.alive:
        if time.monotonic() > deadline:
            _fail(f"lab {name!r}: process {owner.pid} has not ended within {_DOWN_WITHIN:g} s")
        time.sleep(0.05)
    typer.echo(f"lab {name} is down")


def _state(given: Path | None, name: str) -> Path:
    return given if given is not None else _STATE_ROOT / name


def _fail(message: str) -> None:
    typer.echo(f"hvchannel: {message}", err=True)
    raise typer.Exit(1)


def _exit_with(code: int) -> None:
    if code:
        raise typer.Exit(code)


def _compose() -> None:
    from hvchannel_control import commands as control_commands  # noqa: PLC0415
    from hvchannel_daemons import commands as feed_commands  # noqa: PLC0415

    from hvchannel_lab import observe_commands  # noqa: PLC0415

    observe_commands.register(app)
    control_commands.register(app)
    _host_option.add_to(app)
    feed_commands.register(app)


def main() -> None:
    """Entry point. Exits with 0 when all is well, 1 when something failed, 2 for a wrong command line."""
    _compose()
    try:
        app()
    except SystemExit as ended:
        if ended.code == 2 and _no_lab:
            typer.echo(f"hvchannel: {_no_lab[0]}", err=True)
        raise


if __name__ == "__main__":
    main()
