# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.chaos`, which `make chaos` runs."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import structlog
import typer
from hvchannel_lab.running_lab import BringUpError
from hvchannel_lab.supervisor import StartError
from hvchannel_lab.targets import Engine, FeedEngine

from tests.chaos.fault import FAULTS
from tests.chaos.rounds import Round, run
from tests.chaos.table import line, table
from tests.chaos.world import LIBFAKETIME, world


def chaos(
    rounds: Annotated[int, typer.Option(min=1, help="How many faults to inject.")] = 200,
    seed: Annotated[str, typer.Option(help="Of all chance; empty: a new one, which is printed.")] = "",
    engine: Annotated[Engine, typer.Option(help="Of the vSwitches.")] = Engine.AUTO,
    feed: Annotated[FeedEngine, typer.Option(help="Where documents come from.")] = FeedEngine.SQLITE,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="Only this fault; may be given several times.", show_default="all"),
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Only the commonest faults: the short run's.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the processes' logs, and say where.")] = False,
) -> None:
    """Break a lab of two VMs in one place after the other, under traffic and changing documents, and see it heal.

    Prints the seed, each round's fault, target and time to recover, then a table per fault. Exit status: 0 when all
    rules held in all rounds, 1 when not, 2 for a wrong option. Needs root.
    """
    chosen = _chosen(fault or [], common)
    seed = seed or f"{random.SystemRandom().randrange(1 << 32):08x}"
    print(f"seed {seed}: {rounds} rounds, engine {engine}, feed {feed}", flush=True)
    if not LIBFAKETIME.exists():
        print("without clock jumps: no libfaketime (apt-get install faketime)", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # also where a shell started it in the background
    # that processes are started again is what this is about
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    done: list[Round] = []
    began = time.monotonic()

    def say(one: Round) -> None:
        done.append(one)
        print(line(one), flush=True)
        for wrong in one.wrong:
            print(f"      VIOLATION: {wrong}", flush=True)

    state = Path(tempfile.mkdtemp(prefix="hvchaos-"))
    try:
        with world(f"chaos-{os.getpid()}", state / "s", engine, feed, keep=keep) as made:
            print(f"lab {made.topology.name} is up in {time.monotonic() - began:.1f} s", flush=True)
            run(made, seed, rounds, chosen, say)
    except (OSError, StartError, BringUpError, subprocess.CalledProcessError) as error:
        print(f"error: the lab does not come up: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        print("interrupted; the lab has been removed", flush=True)
    if keep:
        print(f"logs are in {state}")
    print(
        f"\n{len(done)} rounds in {time.monotonic() - began:.0f} s, seed {seed}, engine {engine}, feed {feed}\n"
    )
    print("\n".join(table(done)))
    violations = sum(len(one.wrong) for one in done)
    print(f"\n{violations} violations")
    raise typer.Exit(1 if violations else 0)


def _chosen(names: list[str], common: bool) -> list[str]:
    for name in names:
        if name not in FAULTS:
            raise typer.BadParameter(f"{name!r} (valid: {', '.join(FAULTS)})", param_hint="--fault")
    return names or ([name for name, one in FAULTS.items() if one.common] if common else [])


if __name__ == "__main__":
    typer.run(chaos)
