# SPDX-License-Identifier: Apache-2.0
"""`python -m bench`: as root; five to ten minutes, and up to six for `--part scale`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import documents, entries, figures, flood, packet_costs, scale, switch_path
from bench.routes.processes import SwitchError

app = typer.Typer(add_completion=False)

_WIDTH = 150


class Part(StrEnum):
    """What can be measured by itself."""

    PATH = "path"
    DOCUMENTS = "documents"
    ENTRIES = "entries"
    COSTS = "costs"
    SCALE = "scale"
    FLOOD = "flood"


@app.command(
    epilog="Example: make bench JSON=before.json. Example: python -m bench --part scale --vifs 10,100,1000"
)
def main(
    json: Annotated[Path | None, typer.Option(help="Write the figures here as well.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Of the two-switch path.")] = switch_path.ROUNDS,
    part: Annotated[
        list[Part] | None, typer.Option(help="Only this. Repeatable.", show_default="all but scale and flood")
    ] = None,
    vifs: Annotated[
        str, typer.Option(help="Of `--part scale`: numbers of VIFs of one hypervisor, at most 1000.")
    ] = ",".join(map(str, scale.COUNTS)),
) -> None:
    """Measures the path through both vSwitches beside other switches in their place; how soon a document is with the
    guest, beside other ways to bring one there, and documents per second; table entries per second; how a hypervisor
    bears many VIFs; and how a VM fares while another floods. simple_switch_grpc, Open vSwitch and nats-server take part
    where they are installed."""
    try:
        counts = scale.counts_of(vifs)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--vifs") from error
    # In a file, the table is as wide as it is.
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    progress = Console(stderr=True, soft_wrap=True, highlight=False)
    # Namespaces and processes are removed on the way out, which there is none of when a signal kills.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))
    measured: list[figures.Figure] = []
    parts: dict[Part, tuple[str, Callable[[], list[figures.Figure]]]] = {
        Part.PATH: ("packets through two switches", lambda: switch_path.measure(progress, rounds)),
        Part.DOCUMENTS: ("documents through the channel", lambda: documents.measure(progress)),
        Part.ENTRIES: ("table entries over P4Runtime", entries.measure),
        Part.COSTS: ("packets and programs in the kernel", packet_costs.measure),
        Part.SCALE: ("one hypervisor with many VIFs", lambda: scale.measure(progress, console, counts)),
        Part.FLOOD: ("a VM whose neighbour floods", lambda: flood.measure(progress)),
    }
    for name, (what, measure) in parts.items():
        if name in part if part else name not in (Part.SCALE, Part.FLOOD):
            progress.print(f"measuring {what} ...")
            try:
                measured += measure()
            except (OSError, SwitchError) as error:
                progress.print(f"error: {error}")
                raise typer.Exit(1) from error
    figures.show(measured, console)
    if json:
        figures.write(measured, json)
        progress.print(f"wrote {json}")


if __name__ == "__main__":
    app()
