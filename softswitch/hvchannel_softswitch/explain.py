# SPDX-License-Identifier: Apache-2.0
"""`softswitch explain`: what becomes of a program in the kernel, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hvchannel_softswitch import bpf, logs, model
from hvchannel_softswitch.bpf import MapKind, create_map
from hvchannel_softswitch.xdp.codegen import STACK_BYTES
from hvchannel_softswitch.xdp.compiled import CompiledProgram, PortMaps
from hvchannel_softswitch.xdp.explanation import Explanation, MapFacts, TableFacts, explain
from hvchannel_softswitch.xdp.ingress import PORTS, Ingress
from hvchannel_softswitch.xdp.lower import Build, Role
from hvchannel_softswitch.xdp.replication import multicasts

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

DEFAULT_DROP_PORT = 511
_BESIDE = 44
"""The column of the P4 construct."""


@app.command(
    epilog="Example: softswitch explain program.json | less",
    help="What becomes of a p4c-bm2-ss program in the kernel: eBPF as LLVM prints it, the P4 construct beside it. Ends "
    "with 1 for a program that the XDP engine does not take, and says why.",
)
def softswitch_explain(
    program: Annotated[Path, typer.Argument(metavar="PROGRAM.json", exists=True, dir_okay=False)],
    probe: Annotated[
        bool, typer.Option("--probe", help="The build that runs single frames (PacketOut, tests).")
    ] = False,
    trace: Annotated[bool, typer.Option("--trace", help="The build that traces each packet.")] = False,
    replica: Annotated[
        bool, typer.Option("--replica", help="Of a program that multicasts, the build that makes a replica.")
    ] = False,
    drop_port: Annotated[int, typer.Option(min=1, help="As of the switch.")] = DEFAULT_DROP_PORT,
    cpu_port: Annotated[int | None, typer.Option(min=1, help="As of the switch.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Let this kernel's verifier look at it, too (needs root).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """See `help` above."""
    logs.configure(logs.LogLevel.ERROR)
    role = Role.REPLICA if replica else Role.WHOLE
    build = Build(drop_port, cpu_port, probe=probe, trace=trace, role=role)
    try:
        loaded = model.load(program.read_bytes())
        if replica and not multicasts(loaded):
            raise typer.BadParameter(f"--replica: {program} does not multicast")
        explanation = explain(loaded, build, bpf.possible_cpus())
        if verify:
            _verify(loaded, build)
    except model.ProgramError as error:
        refused = isinstance(error, model.UnsupportedProgram)
        if as_json:
            print(json.dumps({"program": str(program), "refused": str(error)}, indent=1))
        else:
            what = "is not for the XDP engine" if refused else "is no program"
            typer.echo(f"softswitch explain: {program} {what}: {error}", err=True)
        raise typer.Exit(1) from error
    if as_json:
        head = {"program": str(program), "refused": None, "build": asdict(build)}
        print(json.dumps(head | asdict(explanation), indent=1))
    else:
        print("\n".join(_text(program, build, explanation, verified=verify)))


def _verify(program: model.Program, build: Build) -> None:
    """Raises UnsupportedProgram; typer.BadParameter where the kernel runs nothing for this process."""
    if (why_not := bpf.xdp_available()) is not None:
        raise typer.BadParameter(f"--verify: {why_not}")
    devices, ingress = create_map(MapKind.DEVMAP, 4, 4, PORTS, name="ports"), Ingress()
    compiled = CompiledProgram(
        program,
        port_maps=PortMaps(ingress.near.fd, ingress.far.fd, devices.fd),
        drop_port=build.drop_port,
        cpu_port=build.cpu_port,
    )
    try:
        compiled.build(probe=build.probe, trace=build.trace, role=build.role)
    finally:
        compiled.close()
        ingress.close()
        devices.close()


def _text(program: Path, build: Build, found: Explanation, *, verified: bool) -> Iterator[str]:
    kind = "single frames" if build.probe else "ports"
    if build.role is Role.REPLICA:
        kind = f"replicas of {kind}" if build.probe else "replicas"
    yield f"{program}, the build for {kind}{' that traces' if build.trace else ''}"
    yield (
        f"  {found.instructions} instructions, {found.stack} of {STACK_BYTES} bytes of stack"
        f"{'; the verifier takes it' if verified else ''}"
    )
    yield from _tables(found.tables)
    yield from _maps(found.maps)
    yield ""
    before = None
    for line in found.lines:
        if not line.slots:
            yield f"{line.text}:"
            continue
        text = f"{line.slot:6}  {line.text}"
        yield f"{text:{_BESIDE}}  {line.origin}".rstrip() if line.origin != before else text
        before = line.origin


def _tables(tables: tuple[TableFacts, ...]) -> Iterator[str]:
    if not tables:
        return
    yield "tables"
    width = max(len(table.name) for table in tables)
    for table in tables:
        keys = ", ".join(table.keys) or "none"
        yield f"  {table.name:{width}}  {table.kind}; {table.size} entries, {table.memory} bytes; keys: {keys}"


def _maps(maps: tuple[MapFacts, ...]) -> Iterator[str]:
    yield "maps"
    for one in maps:
        yield f"  {one.name:11}  {one.kind:7}  {one.memory:>10} bytes  {one.purpose}"
