# SPDX-License-Identifier: Apache-2.0
"""`python -m bench`: as root; about a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import documents, entries, figures, switch_path

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: make bench JSON=before.json")
def main(
    json: Annotated[Path | None, typer.Option(help="Write the figures here as well.")] = None,
) -> None:
    """Measures one vSwitch beside a bare veth and a Linux bridge, the documents per second of the channel, and table
    entries per second beside simple_switch_grpc where it is on PATH."""
    console, progress = Console(), Console(stderr=True)
    measured: list[figures.Figure] = []
    for what, measure in {
        "packets through one vSwitch": switch_path.measure,
        "documents through the channel": documents.measure,
        "table entries over P4Runtime": entries.measure,
    }.items():
        progress.print(f"measuring {what} ...")
        measured += measure()
    figures.show(measured, console)
    if json:
        figures.write(measured, json)
        progress.print(f"wrote {json}")


if __name__ == "__main__":
    app()
