# SPDX-License-Identifier: Apache-2.0
"""What the lab's verbs do, once the command line is understood. Each returns an exit status."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog
from hvchannel_control.client import ControlClient, ControlError
from hvchannel_daemons.feed.interface import FeedError
from rich.console import Console

from hvchannel_lab import journey, journey_view, live, logs, packet_trace, tour, tour_view
from hvchannel_lab.handle import Handle, LabTimeoutError
from hvchannel_lab.move import Move, MoveError, Step
from hvchannel_lab.qemu.packages import ImageError
from hvchannel_lab.registry import LabRunsError, NoSuchLabError
from hvchannel_lab.running_lab import BringUpError, RunningLab
from hvchannel_lab.supervisor import StartError
from hvchannel_lab.tables import SwitchReadError
from hvchannel_lab.targets import Architecture, Engine, FeedEngine, Target, VmKind
from hvchannel_lab.threads import in_thread
from hvchannel_lab.topology import DEFAULT_TRACE_LIMIT, Topology, TopologyError, plan

_log = structlog.stdlib.get_logger("lab")
_FAILURES = (
    LabRunsError,
    NoSuchLabError,
    TopologyError,
    BringUpError,
    StartError,
    ImageError,
    journey.JourneyError,
    tour.TourError,
    MoveError,
    LabTimeoutError,
    FeedError,
    SwitchReadError,
    OSError,
)


@dataclass(frozen=True)
class Options:
    """Of `run` and `up`."""

    name: str
    state: Path
    vms: int
    keep: bool
    journey: bool
    stay: bool
    as_json: bool
    trace_limit: int | None = None
    target: Target = Target.SOFTSWITCH
    engine: Engine = Engine.AUTO
    architecture: Architecture = Architecture.V1MODEL
    feed_engine: FeedEngine = FeedEngine.SQLITE
    channel_tls: bool = False
    hosts: int = 1
    vm_kind: VmKind = VmKind.NAMESPACE
    workload: bool = True


class _Progress:
    """Each step's name when it begins and, on a terminal, how long it took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._step = ""
        self._status = console.status("") if console.is_terminal else None

    def __call__(self, step: str) -> None:
        self.done()
        self._step, self._began = step, time.monotonic()
        if self._status:
            self._status.update(step)
            self._status.start()
        else:
            _log.info("step", step=step)

    def done(self) -> None:
        if self._status and self._step:
            self._status.stop()
            self._console.print(f"[green]✓[/] {self._step} [dim]({time.monotonic() - self._began:.1f} s)[/]")
        self._step = ""

    def stop(self) -> None:
        if self._status:
            self._status.stop()


def serve(options: Options) -> int:
    """`run` and `up`."""
    logs.set_up()
    errors = Console(stderr=True)
    progress = _Progress(errors)
    try:
        topology = plan(
            options.name,
            options.state,
            options.vms,
            trace_limit=options.trace_limit or DEFAULT_TRACE_LIMIT,
            target=options.target,
            engine=options.engine,
            architecture=options.architecture,
            feed_engine=options.feed_engine,
            channel_tls=options.channel_tls,
            hosts=options.hosts,
            vm_kind=options.vm_kind,
            workload=options.workload,
        )
        return asyncio.run(_serve(options, topology, errors, progress))
    except _FAILURES as error:
        progress.stop()
        return _failed(errors, error)


async def _serve(options: Options, topology: Topology, errors: Console, progress: _Progress) -> int:
    task = asyncio.current_task()
    assert task
    ended = asyncio.Event()
    up = False

    def end() -> None:
        """Once: what is being removed is removed to its end, however often Ctrl-C is pressed."""
        if not ended.is_set():
            ended.set()
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end)
    try:
        async with RunningLab(topology, keep=options.keep, step=progress) as lab:
            up = True
            if options.journey and len(topology.hosts) > 1:
                await _tour(topology, progress, options.as_json)
            elif options.journey:
                progress("a document to each VM, and its answer")
                journeys = await asyncio.wrap_future(in_thread(lambda: journey.observe(Handle(topology))))
                progress.done()
                _print_journeys(journeys, options.as_json)
            progress.done()
            if options.stay:
                _log.info("up", lab=topology.name, state=str(topology.state), vms=len(topology.vms))
                if errors.is_terminal:
                    await live.show(errors, topology, lab.supervisor)
                await asyncio.Event().wait()
            ended.set()  # from here on nothing is to be interrupted
    except asyncio.CancelledError:
        progress.stop()
        if not ended.is_set():
            raise
        _log.info("ended", lab=topology.name)
        return 0 if up and options.stay else 1
    return 0


async def _tour(topology: Topology, progress: _Progress, as_json: bool) -> None:
    """Prints each part as soon as it was seen; as JSON all of them at the end."""
    seen: dict[str, object] = {}
    for number, part in enumerate(tour.Tour(Handle(topology)).parts, 1):
        progress(part.title)
        shown = await asyncio.wrap_future(in_thread(part.show))
        progress.done()
        if as_json:
            seen[part.name] = tour_view.as_json(shown)
        else:
            tour_view.show(_output(), number, part, shown)
    if as_json:
        print(json.dumps(seen, indent=2))


def show_journey(name: str, as_json: bool) -> int:
    """`journey`, in a lab that another process keeps up."""
    errors = Console(stderr=True)
    try:
        _print_journeys(journey.observe(Handle.of(name)), as_json)
    except _FAILURES as error:
        return _failed(errors, error)
    return 0


def trace_packet(name: str, vif: str, file: Path | None, socket: Path | None, as_json: bool) -> int:
    """`trace`: in the running lab, or from a trace file and what the controller at `socket` says."""
    errors = Console(stderr=True)
    try:
        if file is not None and socket is not None:
            with ControlClient(socket) as control:
                ports = {attached.vif_id: attached.port for attached in control.vifs()}
            if vif not in ports:
                raise packet_trace.NoPacketError(f"VIF {vif} is not attached")
            found = packet_trace.from_host(vif, ports[vif], file)
        else:
            found = packet_trace.follow(Handle.of(name), vif)
    except (*_FAILURES, packet_trace.NoPacketError, ControlError) as error:
        return _failed(errors, error)
    print(json.dumps(asdict(found), indent=2) if as_json else "\n".join(packet_trace.lines(found)))
    return 0


def restart_process(name: str, process: str, number: signal.Signals) -> int:
    """`restart`: sends the signal, waits until another process bears the name."""
    errors = Console(stderr=True)
    try:
        handle = Handle.of(name)
        killed = handle.kill(process, number)
        successor = handle.wait_restarted(process, killed)
    except _FAILURES as error:
        return _failed(errors, error)
    Console().print(f"{process}: process {killed.pid} ended, {successor.pid} runs")
    return 0


def move_vm(name: str, vm: str, host: str) -> int:
    """`move`: the steps as they are done, in a lab that another process keeps up."""
    errors = Console(stderr=True)
    out = _output()

    def done(step: Step) -> None:
        out.print(f"{step.after:7.3f} s  {step.says}")

    try:
        with Move(Handle.of(name), vm, host, done) as move:
            move.leave()
            move.arrive()
    except _FAILURES as error:
        return _failed(errors, error)
    out.print(f"{move.vm.name} is on {move.host}")
    return 0


def _print_journeys(journeys: list[journey.Journey], as_json: bool) -> None:
    if as_json:
        print(json.dumps(journey_view.as_json(journeys), indent=2))
    else:
        journey_view.show(_output(), journeys)


def _output() -> Console:
    """Stdout, wide enough where no terminal says how wide."""
    return Console(width=None if sys.stdout.isatty() else 140, highlight=False)


def _failed(errors: Console, error: BaseException) -> int:
    errors.print(f"hvchannel: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    for line in error.tail if isinstance(error, StartError) else ():
        errors.print(f"  | {line}", markup=False, highlight=False, soft_wrap=True)
    return 1
