# SPDX-License-Identifier: Apache-2.0
"""The commands that speak to a controller (`attach`, `detach`, `list`, `vswitch`), for a CLI to take in."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from hvchannel_control.api import control_pb2
from hvchannel_control.client import ControlClient, ControlError

_PIPE_WIDTH = 200

SocketOption = Annotated[
    Path,
    typer.Option("--socket", "-s", envvar="HVCHANNEL_CONTROL", help="The controller's local API."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
VifArgument = Annotated[str, typer.Argument(metavar="VIF", help="The VIF's id.")]


def attach(
    vif_id: VifArgument,
    mac: Annotated[str, typer.Option(help="MAC address of the VNIC.")],
    socket: SocketOption,
    port: Annotated[int, typer.Option(help="Port of the vSwitch, where the VNIC is plugged in.")] = 0,
    interface: Annotated[
        str, typer.Option(help="Instead of --port: the interface at it, as the controller's file has it.")
    ] = "",
    vlan: Annotated[int, typer.Option(help="VLAN id, the second identifier; 0: the default one.")] = 0,
    vni: Annotated[int, typer.Option(help="Logical switch, the first identifier; 0: the default one.")] = 0,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the vSwitch to hold it; 0: none.")] = 5.0,
    as_json: JsonOption = False,
) -> None:
    """Attach a VIF: lease it a LIP and program the vSwitch."""
    if not (port or interface):
        raise typer.BadParameter("where is the VNIC plugged in? give --port or --interface")
    with _client(socket) as client:
        vif = client.attach(vif_id, mac, port, vlan, vni, interface=interface)
        if wait > 0 and vif.state != control_pb2.Vif.REALISED:
            vif = client.wait_realised(vif_id, wait)
            if vif.state != control_pb2.Vif.REALISED:
                why = client.status().last_error or "no reason known"
                _warn(f"VIF {vif_id!r} is attached, but the vSwitch does not hold it yet: {why}")
    if as_json:
        _print_json(vif_as_dict(vif))
    else:
        typer.echo(
            f"VIF {vif.vif_id} is attached on port {vif.port}: LIP {vif.lip}, VNI {vif.vni}, VLAN {vif.vlan}"
        )


def detach(vif_id: VifArgument, socket: SocketOption) -> None:
    """Detach a VIF and release its LIP."""
    with _client(socket) as client:
        client.detach(vif_id)


def list_vifs(socket: SocketOption, as_json: JsonOption = False) -> None:
    """List the attached VIFs."""
    with _client(socket) as client:
        vifs = client.vifs()
    if as_json:
        _print_json([vif_as_dict(vif) for vif in vifs])
        return
    table = Table("VIF", "MAC", "port", "VNI", "VLAN", "LIP", "CIP", "state", box=SIMPLE_HEAD)
    for vif in vifs:
        state = control_pb2.Vif.State.Name(vif.state).lower()
        numbers = (str(vif.port), str(vif.vni or "-"), str(vif.vlan))
        table.add_row(vif.vif_id, vif.mac, *numbers, vif.lip or "-", vif.cip, state)
    _console().print(table)


def vswitch(socket: SocketOption, as_json: JsonOption = False) -> None:
    """Show what the controller knows of its vSwitch. Exits 1 when the two are not in sync."""
    with _client(socket) as client:
        answer = client.status()
    if as_json:
        _print_json(status_as_dict(answer))
    else:
        _print_status(answer)
    if not answer.in_sync:
        raise typer.Exit(1)


def register(app: typer.Typer, program: str = "hvchannel") -> None:
    """Adds the commands to `app`, the command line of `program`."""
    app.command(
        "attach",
        epilog=f"Example: {program} attach vm1 --mac 02:00:00:00:00:01 --port 2. Another VIF on that port, on "
        f"another logical switch: {program} attach vm2 --mac 02:00:00:00:00:02 --port 2 --vni 5002 --vlan 4093",
    )(attach)
    app.command("detach", epilog=f"Example: {program} detach vm1")(detach)
    app.command("list", epilog=f"Example: {program} list --json | jq -r '.[].lip'")(list_vifs)
    app.command("vswitch", epilog=f"Example: {program} vswitch --json | jq .verdicts.drop_spoofed.packets")(
        vswitch
    )


app = typer.Typer(help="Speak to a vSwitch's controller.", no_args_is_help=True)
register(app)


@contextmanager
def _client(socket: Path) -> Iterator[ControlClient]:
    try:
        with ControlClient(socket) as client:
            yield client
    except ControlError as error:
        _warn(str(error))
        raise typer.Exit(1) from error


def _console() -> Console:
    # Where no terminal sets a width, nothing is to be cut off.
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)


def _print_status(answer: control_pb2.Status) -> None:
    console = _console()
    summary = Table.grid(padding=(0, 2))
    for name, value in (
        ("profile", answer.profile),
        ("vSwitch", answer.switch_address),
        ("connected", "yes" if answer.switch_connected else "no"),
        ("in sync", "yes" if answer.in_sync else "no"),
        ("reconciliations", str(answer.reconciliations)),
        ("writes", str(answer.writes)),
        ("LIPs leased", f"{answer.leases_used} of {answer.leases_total}" if answer.leases_total else "-"),
        ("last error", answer.last_error or "-"),
    ):
        summary.add_row(name, value)
    console.print(summary)
    verdicts = Table("verdict", "packets", "bytes", box=SIMPLE_HEAD)
    for name, count in sorted(answer.verdicts.items()):
        verdicts.add_row(name, str(count.packets), str(count.bytes))
    console.print(verdicts)
    for name, frames in sorted(answer.digests.items()):
        console.print(f"digest {name}: {frames} frames reported")


def vif_as_dict(vif: control_pb2.Vif) -> dict[str, Any]:
    """A VIF with the API's field names."""
    return {
        "vif_id": vif.vif_id,
        "mac": vif.mac,
        "port": vif.port,
        "vlan": vif.vlan,
        "vni": vif.vni,
        "lip": vif.lip,
        "cip": vif.cip,
        "state": control_pb2.Vif.State.Name(vif.state),
        "link": {"state": control_pb2.Link.State.Name(vif.link.state), "interface": vif.link.interface},
    }


def status_as_dict(status: control_pb2.Status) -> dict[str, Any]:
    """A status with the API's field names."""
    return {
        "profile": status.profile,
        "switch_address": status.switch_address,
        "switch_connected": status.switch_connected,
        "in_sync": status.in_sync,
        "reconciliations": status.reconciliations,
        "writes": status.writes,
        "last_error": status.last_error,
        "verdicts": {
            name: {"packets": count.packets, "bytes": count.bytes}
            for name, count in sorted(status.verdicts.items())
        },
        "digests": dict(sorted(status.digests.items())),
        "leases_used": status.leases_used,
        "leases_total": status.leases_total,
    }


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


def _warn(text: str) -> None:
    typer.echo(f"hvchannel: {text}", err=True)
