# SPDX-License-Identifier: Apache-2.0
"""Runs tests on their benches, several benches at a time, and collects what they report."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from runner.benches import BENCHES
from runner.catalogue import Test
from runner.device import Device
from runner.inside import Job
from runner.targets import Target, TargetMissingError

ROOT = Path(__file__).resolve().parents[1]
MOST_PER_BENCH = 45  # more tests than this are dealt out to several benches of a kind
REPORT_BYTES = 1 << 24  # a failed test reports the frames it got


@dataclass(frozen=True)
class Result:
    """What became of one test: no problems, or their tracebacks."""

    test: str
    seconds: float
    problems: tuple[str, ...]


AnyTarget: TypeAlias = Target | Device
Results: TypeAlias = Coroutine[Any, Any, list[Result]]
Listener: TypeAlias = Callable[[Result], None]


async def run(
    tests: Sequence[Test], target: AnyTarget, logs: Path, environment: Path, tell: Listener
) -> list[Result]:
    """One result for each test; `tell` hears of each as it comes. Leaves no process, namespace or container behind,
    however it ends."""
    async with asyncio.TaskGroup() as group:
        batches = [
            group.create_task(_run_batch(bench, batch, target, logs / f"{bench}{number}", environment, tell))
            for bench in BENCHES
            for number, batch in enumerate(_dealt([test for test in tests if test.bench == bench], target), 1)
        ]
    return [result for batch in batches for result in batch.result()]


def _dealt(tests: list[Test], target: AnyTarget) -> list[list[Test]]:
    count = -(-len(tests) // MOST_PER_BENCH) if target.at_once else min(len(tests), 1)
    return [tests[number::count] for number in range(count)]


async def _run_batch(
    bench: str, tests: list[Test], target: AnyTarget, logs: Path, environment: Path, tell: Listener
) -> list[Result]:
    results: list[Result] = []
    trouble = "ptf ended before it"
    try:
        with target.surroundings() as (enter, container):
            commands = target.commands(BENCHES[bench], logs, container)
            names = [test.full_name for test in tests]
            wiring = asdict(target.wiring) if isinstance(target, Device) else None
            job = Job(
                *(bench, names, commands, str(logs), str(environment), target.arch, target.own_mounts), wiring
            )
            async with asyncio.timeout(target.seconds):
                async for report in _reports([*enter, sys.executable, "-m", "runner.inside", job.to_json()]):
                    if "error" in report:
                        trouble = report["error"]
                        continue
                    results.append(Result(report["test"], report["seconds"], tuple(report["problems"])))
                    tell(results[-1])
    except TargetMissingError as error:
        trouble = str(error)
    except TimeoutError:
        trouble = f"the bench took more than {target.seconds} s"
    missing = {test.full_name for test in tests} - {result.test for result in results}
    unrun = [Result(test, 0.0, (f"did not run: {trouble}; see {logs}",)) for test in sorted(missing)]
    for result in unrun:
        tell(result)
    if not missing and trouble != "ptf ended before it":
        unrun.append(Result(bench, 0.0, (trouble,)))
    return results + unrun


async def _reports(command: list[str]) -> Any:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,  # Ctrl-C is this process's to handle
        limit=REPORT_BYTES,
    )
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            yield json.loads(line)
        await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.stdout.read()  # ends with the last process in the namespace
        await process.wait()
