# SPDX-License-Identifier: Apache-2.0
"""`softswitch-stf`: plays STF tests on either engine."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from hvchannel_softswitch import bpf, logs, model
from hvchannel_softswitch.stf.engines import StfEngine
from hvchannel_softswitch.stf.language import SyntaxFault, parse
from hvchannel_softswitch.stf.player import Failed, play
from hvchannel_softswitch.trace import Tracer

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)

_EPILOG = """
**Example**: `p4c-bm2-ss --std p4-16 -o route.json route.p4 && softswitch-stf route.json route.stf`
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one test; `reason` says why it failed, or why the engine does not take the program: `refused`."""

    program: str
    test: str
    passed: bool
    refused: bool
    reason: str | None

    @property
    def failed(self) -> bool:
        """Neither passed nor refused."""
        return not (self.passed or self.refused)


@app.command(epilog=_EPILOG)
def stf(
    program: Annotated[
        Path, typer.Argument(help="p4c's bmv2 JSON, or a folder of pairs X.json and X.stf.", exists=True)
    ],
    test: Annotated[
        Path | None, typer.Argument(help="The test, where the first is a program.", exists=True)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Each packet's journey, on stderr.")] = False,
    engine: Annotated[StfEngine, typer.Option(help="What the programs run on.")] = StfEngine.INTERPRETER,
    strict: Annotated[
        bool, typer.Option("--strict", help="A program that the engine refuses is a failure too.")
    ] = False,
) -> None:
    """Plays tests in p4c's STF language: one line per test, then a summary.

    Ends with 0 if all passed or were refused as programs that the engine does not take, 1 if some failed, 2 for a wrong
    command line.
    """
    logs.configure(logs.LogLevel.ERROR)
    if engine is StfEngine.XDP and (why_not := bpf.xdp_available()) is not None:
        raise typer.BadParameter(f"--engine xdp: {why_not}")
    if program.is_dir():
        if test is not None:
            raise typer.BadParameter(f"{program} is a folder; give a folder alone, or a program and its test")
        pairs = [(path.with_suffix(".json"), path) for path in sorted(program.glob("*.stf"))]
        if not pairs:
            raise typer.BadParameter(f"{program} holds no .stf files")
    elif test is None:
        raise typer.BadParameter(f"expected the test for {program} after it, or a folder of pairs")
    else:
        pairs = [(program, test)]
    tracer = Tracer(sys.stderr, as_json=False) if trace else None
    verdicts = []
    for code, script in pairs:
        verdicts.append(_verdict(code, script, tracer, engine))
        if not as_json:
            print(_line(verdicts[-1]), flush=True)
    counts = {
        "passed": sum(verdict.passed for verdict in verdicts),
        "refused": sum(verdict.refused for verdict in verdicts),
        "failed": sum(verdict.failed for verdict in verdicts),
    }
    if as_json:
        print(json.dumps(counts | {"tests": [asdict(verdict) for verdict in verdicts]}, indent=1))
    else:
        print(", ".join(f"{count} {what}" for what, count in counts.items() if count or what != "refused"))
    raise typer.Exit(1 if counts["failed"] or (strict and counts["refused"]) else 0)


def _line(verdict: Verdict) -> str:
    if verdict.passed:
        return f"pass {verdict.test}"
    return f"{'refused' if verdict.refused else 'FAIL'} {verdict.test}: {verdict.reason}"


def _verdict(program: Path, test: Path, tracer: Tracer | None, engine: StfEngine) -> Verdict:
    reason, refused = None, False
    try:
        loaded, script = model.load(program.read_bytes()), parse(test.read_text())
        try:
            play(loaded, script, tracer, engine=engine)
        except model.UnsupportedProgram as error:
            reason, refused = str(error), True
    except (Failed, SyntaxFault, model.ProgramError) as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
    except UnicodeDecodeError as error:
        reason = f"{test}: not a text file: {error.reason}"
    return Verdict(str(program), str(test), reason is None, refused, reason)


def main() -> None:
    """The console script."""
    app()
