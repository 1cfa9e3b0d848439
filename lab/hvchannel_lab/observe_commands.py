# SPDX-License-Identifier: Apache-2.0
"""`hvchannel metrics`, `health` and `log-level`: what the processes of a running lab say of themselves."""

from __future__ import annotations

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, NoReturn

import typer
from hvchannel_telemetry.client import ProcessClient, ProcessError
from hvchannel_telemetry.logs import LEVELS
from hvchannel_telemetry.scrape import ScrapeError, scrape
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from hvchannel_lab.handle import Handle
from hvchannel_lab.metrics_text import together
from hvchannel_lab.observed import Observed, programs
from hvchannel_lab.registry import DEFAULT_LAB
from hvchannel_lab.topology import TopologyError

_AT_ONCE = 16
_PIPE_WIDTH = 200
_DURATION = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?)(?P<unit>s|m|h|)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}

NameOption = Annotated[str, typer.Option("--name", envvar="HVCHANNEL_LAB", help="Of the lab.")]
ProcessArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[PROCESS]", help="As in the live view: host/hostd, vm1/guestd.", show_default="all"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def metrics(process: ProcessArgument = None, name: NameOption = DEFAULT_LAB) -> None:
    """Print the Prometheus metrics of a process, or of all, each with a label `process`."""
    chosen = _programs(name, process)
    failed, texts = [], {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for program, answer in zip(chosen, pool.map(_scrape, chosen), strict=True):
            if isinstance(answer, ScrapeError):
                failed.append(f"{program.name}: {answer}")
            else:
                texts[program.name] = answer
    if process is None:
        sys.stdout.write(together(texts))
    else:
        sys.stdout.write("".join(texts.values()))
    _complain(failed)


def health(
    process: ProcessArgument = None, name: NameOption = DEFAULT_LAB, as_json: JsonOption = False
) -> None:
    """Show which parts of the processes serve, and why one does not. Exits 1 when any does not."""
    chosen = _programs(name, process)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = dict(zip((program.name for program in chosen), pool.map(_health, chosen), strict=True))
    if as_json:
        typer.echo(
            json.dumps(
                {
                    name: {part: why or "serving" for part, why in parts.items()}
                    for name, parts in found.items()
                },
                indent=2,
            )
        )
    else:
        table = Table(box=SIMPLE_HEAD)
        for heading in ("process", "part", "serves", "why not"):
            table.add_column(heading, overflow="fold")
        for name_, parts in found.items():
            for part, why in parts.items():
                table.add_row(name_, part, "[red]no[/]" if why else "[green]yes[/]", why.replace("[", r"\["))
        Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False).print(table)
    if any(why for parts in found.values() for why in parts.values()):
        raise typer.Exit(1)


def log_level(
    process: Annotated[str, typer.Argument(help="As in the live view: host/hostd, vm1/guestd.")],
    level: Annotated[
        str | None,
        typer.Argument(help=f"{', '.join(LEVELS)}, or reset: as it was started.", show_default="show it"),
    ] = None,
    part: Annotated[
        str,
        typer.Option("--part", help="Of the process, such as feed, or a library: nats.", show_default="all"),
    ] = "",
    duration: Annotated[
        str | None,
        typer.Option("--for", help="After which it is as before: 90, 30s, 10m, 1h.", show_default="stays"),
    ] = None,
    name: NameOption = DEFAULT_LAB,
) -> None:
    """Show the log level of a process, or change it while it runs."""
    (program,) = _programs(name, process)
    seconds = _seconds(duration)
    if level is not None and level not in (*LEVELS, "reset"):
        raise typer.BadParameter(f"log level {level!r} is not known (valid: {', '.join(LEVELS)}, reset)")
    try:
        with ProcessClient(program.socket) as client:
            if level is None:
                levels = client.log_levels()
            else:
                levels = client.set_log_level("" if level == "reset" else level, part, seconds)
    except ProcessError as error:
        _fail(f"{process}: {error}")
    for known, setting in sorted(levels.settings.items()):
        left = f"  for {setting.seconds:.0f} s more" if setting.seconds else ""
        typer.echo(f"{known or 'all'}  {setting.level}{left}")
    if level is None:
        typer.echo(f"parts: {', '.join(levels.parts)}")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(epilog="Example: hvchannel metrics host/hostd | grep sessions")(metrics)
    app.command(epilog="Example: hvchannel health || hvchannel health --json | jq .")(health)
    app.command("log-level", epilog="Example: hvchannel log-level host/hostd debug --part feed --for 10m")(
        log_level
    )


def _programs(lab: str, process: str | None) -> list[Observed]:
    try:
        return programs(Handle.of(lab), process)
    except (LookupError, TopologyError) as error:
        _fail(str(error))


def _scrape(program: Observed) -> str | ScrapeError:
    try:
        return scrape(program.metrics)
    except ScrapeError as error:
        return error


def _health(program: Observed) -> dict[str, str]:
    try:
        with ProcessClient(program.socket) as client:
            return client.health()
    except ProcessError as error:
        return {"process": str(error)}


def _seconds(text: str | None) -> float:
    if text is None:
        return 0.0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"--for: {text!r} is no duration (valid: such as 90, 30s, 10m, 1h)")
    return float(match["number"]) * _SECONDS[match["unit"]]


def _complain(failed: list[str]) -> None:
    for line in failed:
        typer.echo(f"hvchannel: {line}", err=True)
    if failed:
        raise typer.Exit(1)


def _fail(message: str) -> NoReturn:
    typer.echo(f"hvchannel: {message}", err=True)
    raise typer.Exit(1)
