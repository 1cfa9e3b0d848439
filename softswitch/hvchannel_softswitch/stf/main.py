# SPDX-License-Identifier: Apache-2.0
"""`softswitch-stf`: plays STF tests on the interpreter."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from hvchannel_softswitch import logs, model
from hvchannel_softswitch.stf.language import SyntaxFault, parse
from hvchannel_softswitch.stf.player import Failed, play
from hvchannel_softswitch.trace import Tracer

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)

_EPILOG = """
**Example**: `p4c-bm2-ss --std p4-16 -o route.json route.p4 && softswitch-stf route.json route.stf`
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one test; `reason` says why it failed."""

    program: str
    test: str
    passed: bool
    reason: str | None


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
) -> None:
    """Plays tests in p4c's STF language: one line per test, then a summary.

    Ends with 0 if all passed, 1 if some failed, 2 for a wrong command line.
    """
    logs.configure(logs.LogLevel.ERROR)
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
        verdicts.append(_verdict(code, script, tracer))
        if not as_json:
            print(_line(verdicts[-1]), flush=True)
    failed = sum(not verdict.passed for verdict in verdicts)
    if as_json:
        summary = {"passed": len(verdicts) - failed, "failed": failed}
        print(json.dumps(summary | {"tests": [asdict(verdict) for verdict in verdicts]}, indent=1))
    else:
        print(f"{len(verdicts) - failed} passed, {failed} failed")
    raise typer.Exit(1 if failed else 0)


def _line(verdict: Verdict) -> str:
    return f"pass {verdict.test}" if verdict.passed else f"FAIL {verdict.test}: {verdict.reason}"


def _verdict(program: Path, test: Path, tracer: Tracer | None) -> Verdict:
    reason = None
    try:
        play(model.load(program.read_bytes()), parse(test.read_text()), tracer)
    except (Failed, SyntaxFault, model.ProgramError) as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
    except UnicodeDecodeError as error:
        reason = f"{test}: not a text file: {error.reason}"
    return Verdict(str(program), str(test), reason is None, reason)


def main() -> None:
    """The console script."""
    app()
