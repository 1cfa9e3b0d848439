# SPDX-License-Identifier: Apache-2.0
"""A lab in a process of its own, for the length of a block: for tests and benchmarks."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hvchannel_lab.handle import Handle
from hvchannel_lab.namespaces import command_in
from hvchannel_lab.state_directory import UP_FILE
from hvchannel_lab.targets import Architecture, Engine, FeedEngine, Target, VmKind
from hvchannel_lab.topology import DEFAULT_TRACE_LIMIT, Topology

_POLL = 0.05  # seconds
_DOWN_WITHIN = 60.0  # seconds


class BackgroundError(RuntimeError):
    """The lab did not come up, or did not end well; the message holds what it printed."""


@contextmanager
def background_lab(
    name: str,
    state: Path,
    vms: int = 2,
    *,
    target: Target = Target.SOFTSWITCH,
    engine: Engine = Engine.AUTO,
    architecture: Architecture = Architecture.V1MODEL,
    feed_engine: FeedEngine = FeedEngine.SQLITE,
    channel_tls: bool = False,
    hosts: int = 1,
    vm_kind: VmKind = VmKind.NAMESPACE,
    trace_limit: int = DEFAULT_TRACE_LIMIT,
    workload: bool = True,
    up_within: float = 120.0,
) -> Iterator[Handle]:
    """`hvchannel up`, and a handle of it once all its VMs are reached. Raises BackgroundError.

    The lab dies with the caller's thread, should that not get to the end of the block.
    """
    up = [sys.executable, "-m", "hvchannel_lab.cli", "up"]
    options = ["--name", name, "--state", str(state), "--vms", str(vms), "--target", target]
    options += [
        "--hosts",
        str(hosts),
        "--engine",
        engine,
        "--arch",
        architecture,
        "--feed",
        feed_engine,
        "--vm",
        vm_kind,
        "--trace-limit",
        str(trace_limit),
    ]
    options += ["--channel-tls"] if channel_tls else []
    options += [] if workload else ["--no-workload"]
    printed = state.with_name(f"{state.name}.log")
    with printed.open("wb") as output:
        process = subprocess.Popen(
            command_in(None, [*up, *options]), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    with process:
        try:
            deadline = time.monotonic() + up_within
            while not (state / UP_FILE).exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise BackgroundError(
                        f"lab {name!r} did not come up:\n{printed.read_text(errors='replace')}"
                    )
                time.sleep(_POLL)
            yield Handle(Topology.load(state))
        finally:
            process.terminate()
            try:
                status = process.wait(_DOWN_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                raise BackgroundError(f"lab {name!r} did not end within {_DOWN_WITHIN:g} s") from None
        if status != 0:
            raise BackgroundError(f"lab {name!r} ended with {status}:\n{printed.read_text(errors='replace')}")
