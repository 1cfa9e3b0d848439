# SPDX-License-Identifier: Apache-2.0
"""The command `softswitch`. Its options are simple_switch_grpc's, in both halves of its command line, and a
few more.

simple_switch_grpc splits its options at `--`: the general ones before, the target's after. No name is in both
halves, so here the `--` is only taken out, and each option may stand in either half.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from hvchannel_telemetry.metrics_options import AllowAny, MetricsAt, metrics_address

from hvchannel_softswitch.logs import LogLevel
from hvchannel_softswitch.start import EngineKind, SocketMode

DEFAULT_DROP_PORT = 511
DEFAULT_ADDRESS = "127.0.0.1:9559"
EXPLAIN = "explain"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_IGNORED_FLAGS = ["--log-console", "--log-flush", "--debugger", "--disable-swap"]
_IGNORED_VALUES = [
    "--thrift-port",
    "--nanolog",
    "--notifications-addr",
    "--debugger-addr",
    "--log-file-max-size",
    "--log-file-max-files",
    "--max-port-count",
    "--dump-packet-data",
    "--priority-queues",
    "--max-mc-groups",
    "--max-l1-entries",
    "--max-l2-entries",
]


@app.command(
    epilog="Example: softswitch -i 1@veth0 -i 2@veth2 --no-p4 -- --grpc-server-addr unix:/run/sw.sock "
    "--cpu-port 510",
    help="A P4 switch: runs a program of p4c-bm2-ss or p4c-bm2-pna on network interfaces, controlled over P4Runtime. "
    "Takes the command line of simple_switch_grpc. `softswitch explain PROGRAM.json` shows what becomes of a "
    "program in the kernel.",
)
def softswitch(
    program: Annotated[
        Path | None,
        typer.Argument(
            metavar="PROGRAM.json", help="Runs until a controller sets a pipeline.", show_default=False
        ),
    ] = None,
    interface: Annotated[
        list[str] | None,
        typer.Option("--interface", "-i", metavar="PORT@IF", help="Interface IF is port PORT. Repeatable."),
    ] = None,
    no_p4: Annotated[bool, typer.Option("--no-p4", help="Start without a program.")] = False,
    device_id: Annotated[int, typer.Option(min=0, help="P4Runtime's device_id.")] = 0,
    cpu_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Port of packet-in and packet-out, 4294967293 for a program for PNA; without it there are none.",
        ),
    ] = None,
    drop_port: Annotated[int, typer.Option(min=1, help="The egress_spec that drops.")] = DEFAULT_DROP_PORT,
    grpc_server_addr: Annotated[
        str, typer.Option(metavar="ADDRESS", help="HOST:PORT or unix:/path (made with mode 0600).")
    ] = DEFAULT_ADDRESS,
    grpc_server_mode: Annotated[
        SocketMode, typer.Option(help="Of the unix socket: 0660 lets this process's group in, too.")
    ] = SocketMode.OWNER,
    grpc_server_ssl: Annotated[
        bool, typer.Option("--grpc-server-ssl", help="TLS on HOST:PORT, with the two files below.")
    ] = False,
    grpc_server_cert: Annotated[Path | None, typer.Option(help="The server's certificate, PEM.")] = None,
    grpc_server_key: Annotated[Path | None, typer.Option(help="And its key.")] = None,
    grpc_server_cacert: Annotated[
        Path | None, typer.Option(help="Certificates of who signs clients', PEM.")
    ] = None,
    grpc_server_with_client_auth: Annotated[
        bool,
        typer.Option(
            "--grpc-server-with-client-auth", help="Only clients with a certificate by --grpc-server-cacert."
        ),
    ] = False,
    engine: Annotated[
        EngineKind,
        typer.Option(
            help="What runs programs: the kernel (xdp), the interpreter, or the kernel if it takes them (auto)."
        ),
    ] = EngineKind.AUTO,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of what goes on forwarding when this process dies, in /sys/fs/bpf/softswitch/NAME.",
            show_default="one per namespace, device id and interfaces",
        ),
    ] = None,
    stop: Annotated[
        bool,
        typer.Option(
            "--stop", help="End what a process with these -i and --device-id left forwarding, and exit."
        ),
    ] = False,
    pcap: Annotated[
        Path | None,
        typer.Option(metavar="[=DIR]", help="Write <IF>_in.pcap and <IF>_out.pcap to DIR (default: here)."),
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Print each packet's journey to stdout.")] = False,
    trace_file: Annotated[
        Path | None, typer.Option(help="Write each packet's journey to a file, one JSON object per line.")
    ] = None,
    trace_limit: Annotated[
        int | None, typer.Option(min=1, help="Trace no more than this many packets.", show_default="all")
    ] = None,
    trace_filter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=N",
            help="Trace only packets with this value in a header's field (ipv4.ttl=64), or that came by this port "
            "(port=2). Repeatable: all must hold.",
        ),
    ] = None,
    translations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help='Values of @p4runtime_translation by URI: {"URI": {"SDN value": data plane value}}.',
            show_default=False,
        ),
    ] = None,
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", "-L", help="Log this and what is graver.")
    ] = LogLevel.INFO,
    log_json: Annotated[
        bool | None,
        typer.Option("--log-json/--no-log-json", help="Default: JSON unless stderr is a terminal."),
    ] = None,
    log_file: Annotated[Path | None, typer.Option(help="Log to a file instead of stderr.")] = None,
    metrics: MetricsAt = None,
    metrics_allow_any: AllowAny = False,
) -> None:
    """See `help` above."""
    from hvchannel_softswitch.p4runtime.tls import ServerTls  # noqa: PLC0415
    from hvchannel_softswitch.run import run  # noqa: PLC0415 (--help need not load gRPC and LLVM)
    from hvchannel_softswitch.start import Options, StartError, stop_left  # noqa: PLC0415
    from hvchannel_softswitch.trace import Filter  # noqa: PLC0415

    if no_p4 and program is not None:
        _note(f"{program} is ignored, as --no-p4 is given")
        program = None
    if not (no_p4 or stop) and program is None:
        raise typer.BadParameter("a PROGRAM.json is missing (or --no-p4, to wait for a controller's)")
    if pcap is not None and not pcap.is_dir():
        raise typer.BadParameter(f"--pcap: {str(pcap)!r} is not a directory")
    if trace and trace_file is not None:
        raise typer.BadParameter("--trace (text to stdout) and --trace-file (JSON lines) exclude each other")
    try:
        metrics_at = metrics_address(metrics, metrics_allow_any)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    tls = None
    if grpc_server_ssl:
        if grpc_server_addr.startswith("unix:"):
            raise typer.BadParameter("--grpc-server-ssl is for HOST:PORT; a unix socket has a mode")
        if grpc_server_cert is None or grpc_server_key is None:
            raise typer.BadParameter("--grpc-server-ssl needs --grpc-server-cert and --grpc-server-key")
        if grpc_server_with_client_auth and grpc_server_cacert is None:
            raise typer.BadParameter("--grpc-server-with-client-auth needs --grpc-server-cacert")
        ca = grpc_server_cacert if grpc_server_with_client_auth else None
        tls = ServerTls(grpc_server_cert, grpc_server_key, ca)
    elif grpc_server_with_client_auth or grpc_server_cert or grpc_server_key or grpc_server_cacert:
        raise typer.BadParameter("certificates are given without --grpc-server-ssl: it would serve in clear")
    options = Options(
        interfaces=tuple(_interface(text) for text in interface or ()),
        program=program,
        device_id=device_id,
        cpu_port=cpu_port,
        drop_port=drop_port,
        address=grpc_server_addr,
        socket_mode=int(grpc_server_mode, 8),
        tls=tls,
        pcap=pcap,
        trace=trace,
        trace_file=trace_file,
        trace_limit=trace_limit,
        translations=translations,
        engine=engine,
        name=name,
        trace_filter=Filter(dict(_condition(text) for text in trace_filter or ())),
        metrics=metrics_at,
    )
    try:
        if stop:
            typer.echo("stopped" if stop_left(options) else "nothing was left running")
            return
        run(options, log_level=log_level, log_json=log_json, log_file=log_file)
    except StartError as error:
        typer.echo(f"softswitch: {error}", err=True)
        raise typer.Exit(1) from error


def _interface(text: str) -> tuple[int, str]:
    number, at, name = text.partition("@")
    if not (at and name and number.isascii() and number.isdigit()):
        raise typer.BadParameter(f"--interface: {text!r} is not PORT@INTERFACE (example: 1@veth0)")
    return int(number), name


def _condition(text: str) -> tuple[str, int]:
    name, equals, number = text.partition("=")
    try:
        if name and equals:
            return name, int(number, 0)
    except ValueError:
        pass
    raise typer.BadParameter(f"--trace-filter: {text!r} is not FIELD=NUMBER (example: ipv4.ttl=64, port=2)")


def normalise(arguments: Sequence[str]) -> list[str]:
    """simple_switch_grpc's command line as one list of options: without the `--`, with `--pcap` always given
    a directory, and without the options that mean nothing here, each with a note on stderr."""
    result: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, _ = argument.partition("=")
        if argument == "--":
            continue
        if argument == "--pcap":
            result.append("--pcap=.")
        elif name in _IGNORED_FLAGS:
            if name != "--log-console":
                _note(f"{name} is ignored")
        elif name in _IGNORED_VALUES:
            _note(f"{name} is ignored")
            if not equals:
                next(rest, None)
        else:
            result.append(argument)
    return result


def _note(text: str) -> None:
    typer.echo(f"softswitch: note: {text}", err=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Exits with 0 after SIGINT or SIGTERM, 1 when the switch cannot start, 2 for a wrong
    command line. The first word `explain` makes it another command."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name, command = "softswitch", typer.main.get_command(app)
    if words[:1] == [EXPLAIN]:
        from hvchannel_softswitch import explain  # noqa: PLC0415 (LLVM need not be loaded for the switch's --help)

        name, command = f"softswitch {EXPLAIN}", typer.main.get_command(explain.app)
        words = words[1:]
    else:
        words = normalise(words)
    try:
        code = command.main(args=words, prog_name=name, standalone_mode=False)
    except typer.TyperException as error:
        formatted = getattr(error, "format_message", None)
        message = formatted() if formatted is not None else str(error)
        typer.echo(f"{name}: {' '.join(message.split())} ({name} --help lists the options)", err=True)
        sys.exit(2)
    sys.exit(code or 0)
