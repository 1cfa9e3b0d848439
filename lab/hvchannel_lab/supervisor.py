# SPDX-License-Identifier: Apache-2.0
"""Keeps the lab's programs running: started in parallel, restarted when they end, stopped in order, logs
kept.

Every program is a child in a session of its own (the terminal's Ctrl-C is the lab's alone) and dies with the
lab by the kernel's hand (see `enter`). Who they are and how they fare is written to a file at every change:
other commands find a program's pid there.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO

import structlog

from hvchannel_lab import registry
from hvchannel_lab.namespaces import command_in

PROCESSES_FILE = "processes.json"
_POLL = 0.02  # seconds between two looks at a socket that is to appear
_TAIL_LINES = 12
_log = structlog.stdlib.get_logger("lab")


class State(StrEnum):
    """Where a program is in its life."""

    STARTING = "starting"  # runs, its socket does not answer yet
    RUNNING = "running"
    WAITING = "waiting"  # ended by itself; to be started again after a delay
    STOPPED = "stopped"  # by us
    FAILED = "failed"  # ended before it was ready for the first time


@dataclass(frozen=True)
class Program:
    """What to run. `ready`: the unix socket that answers once it is up (None: up when started).

    `stage` orders the stop: programs of the highest stage go first, those of one stage together. `socket`, `metrics`:
    where it tells of its health and log level, and of its metrics, if it does. `ready_within`: seconds, where the
    policy's are too few.
    """

    who: str
    name: str
    namespace: str
    argv: tuple[str, ...]
    log: Path
    stage: int = 0
    ready: Path | None = None
    socket: Path | None = None
    metrics: Path | None = None
    ready_within: float | None = None

    @property
    def key(self) -> str:
        """The name by which commands and tests mean it: "host/softswitch", "vm1/guestd"."""
        return f"{self.who}/{self.name}"


@dataclass(frozen=True)
class Policy:
    """Times in seconds. A program that stayed up for `stable` starts its delays from the first one again."""

    first_delay: float = 0.2
    longest_delay: float = 5.0
    stable: float = 10.0
    ready_within: float = 60.0
    stop_grace: float = 5.0


class StartError(RuntimeError):
    """A program that did not come up. The message is one line; `tail` is the end of its log."""

    def __init__(self, message: str, tail: list[str]) -> None:
        super().__init__(message)
        self.tail = tail


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class Child:
    """A program as it fares."""

    program: Program
    state: State = State.STARTING
    process: registry.Process | None = None
    restarts: int = 0
    last_exit: int | None = None  # the exit status, negative: the signal that ended it
    since: float = 0.0  # time.time() of the last change of state
    log_offset: int = 0  # where the log of the present run begins, bytes
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    may_start: asyncio.Event = field(default_factory=_set_event)  # cleared: held back from its next start
    keeper: asyncio.Task[None] | None = None

    def log_size(self) -> int:
        """Bytes."""
        try:
            return self.program.log.stat().st_size
        except FileNotFoundError:
            return 0

    def tail(self) -> list[str]:
        """The last lines that the present run wrote."""
        try:
            with self.program.log.open("rb") as log:
                log.seek(max(self.log_offset, self.log_size() - 8192))
                lines = log.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return []
        return [line for line in lines if line.strip()][-_TAIL_LINES:]


class Supervisor:
    """Owns the children. All methods belong to the main thread, whose life the children share."""

    def __init__(
        self,
        record: Path,
        policy: Policy | None = None,
        on_change: Callable[[Child], None] | None = None,
    ) -> None:
        self.children: dict[str, Child] = {}
        self._record = record
        self._policy = policy or Policy()
        self._on_change = on_change or (lambda child: None)

    async def start(self, programs: Iterable[Program]) -> None:
        """Starts all at once and returns when all are ready. Raises StartError for the first that fails."""
        children = [Child(program) for program in programs]
        for child in children:
            if child.program.key in self.children:
                raise ValueError(f"{child.program.key} is under supervision already")
            self.children[child.program.key] = child
            child.keeper = asyncio.create_task(self._keep(child), name=child.program.key)
        try:
            async with asyncio.TaskGroup() as group:
                for child in children:
                    group.create_task(self._come_up(child))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def stop(self, keys: Iterable[str] | None = None) -> None:
        """Ends the named children (all by default), highest stage first, and forgets them."""
        chosen = [self.children[key] for key in (list(self.children) if keys is None else keys)]
        for stage in sorted({child.program.stage for child in chosen}, reverse=True):
            batch = [child for child in chosen if child.program.stage == stage]
            for child in batch:
                child.stopping.set()
            await asyncio.gather(*(child.keeper for child in batch if child.keeper), return_exceptions=True)
        for child in chosen:
            self.children.pop(child.program.key, None)
        if chosen:
            self._write()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """In the block the named child is not started again, should it end. Raises KeyError."""
        child = self.children[key]
        child.may_start.clear()
        try:
            yield
        finally:
            child.may_start.set()

    async def _keep(self, child: Child) -> None:
        delay = self._policy.first_delay
        while not child.stopping.is_set():
            began = time.monotonic()
            await self._run_once(child)
            if child.stopping.is_set():
                break
            if not child.ready.is_set():
                self._change(child, State.FAILED)
                return
            child.restarts += 1
            if time.monotonic() - began >= self._policy.stable:
                delay = self._policy.first_delay
            self._change(child, State.WAITING)
            _log.warning(
                "process_restarts",
                process=child.program.key,
                status=child.last_exit,
                restarts=child.restarts,
                delay=delay,
                log=str(child.program.log),
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await child.stopping.wait()
            await _any_of(child.stopping, child.may_start)
            delay = min(2 * delay, self._policy.longest_delay)
        self._change(child, State.STOPPED)

    async def _run_once(self, child: Child) -> None:
        program = child.program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        with _append(program.log) as log:
            child.log_offset = child.log_size()
            process = await asyncio.create_subprocess_exec(
                *command_in(program.namespace, program.argv),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        with suppress(ProcessLookupError):  # ended already: then there is nothing to record
            child.process = registry.Process.of(process.pid)
        if program.ready is None:
            child.ready.set()  # here, as it may end before anybody looks
        self._change(child, State.RUNNING if child.ready.is_set() else State.STARTING)
        exited = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(child.stopping.wait())
        await asyncio.wait({exited, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not exited.done():
            await self._terminate(process, exited)
        child.process = None
        child.last_exit = exited.result()

    async def _terminate(self, process: Process, exited: asyncio.Future[int]) -> None:
        _signal_group(process, signal.SIGTERM)
        done, _ = await asyncio.wait({exited}, timeout=self._policy.stop_grace)
        if not done:
            _signal_group(process, signal.SIGKILL)
            await exited

    async def _come_up(self, child: Child) -> None:
        program, policy = child.program, self._policy
        within = policy.ready_within if program.ready_within is None else program.ready_within
        deadline = time.monotonic() + within
        while not (child.ready.is_set() or (child.process and await _answers(program.ready))):
            if child.state is State.FAILED:
                raise StartError(
                    f"{program.key} ended with status {child.last_exit} before it was ready "
                    f"(log: {program.log})",
                    child.tail(),
                )
            if time.monotonic() > deadline:
                raise StartError(
                    f"{program.key} was not ready within {within:g} s: nothing answers on "
                    f"{program.ready} (log: {program.log})",
                    child.tail(),
                )
            await asyncio.sleep(_POLL)
        if not child.ready.is_set():
            child.ready.set()
            self._change(child, State.RUNNING)

    def _change(self, child: Child, state: State) -> None:
        child.state, child.since = state, time.time()
        self._write()
        self._on_change(child)

    def _write(self) -> None:
        content = {
            key: {
                "pid": child.process.pid if child.process else None,
                "start_time": child.process.start_time if child.process else None,
                "state": child.state.value,
                "restarts": child.restarts,
                "last_exit": child.last_exit,
                "since": child.since,
                "log": str(child.program.log),
                "socket": str(child.program.socket) if child.program.socket else None,
                "metrics": str(child.program.metrics) if child.program.metrics else None,
            }
            for key, child in self.children.items()
        }
        partial = self._record.with_name(f".{self._record.name}")
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        partial.replace(self._record)


async def _any_of(*events: asyncio.Event) -> None:
    """Returns once one of them is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


def _append(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "wb")


def _signal_group(process: Process, number: signal.Signals) -> None:
    """The whole session, so that what a program started itself goes with it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


async def _answers(socket: Path | None) -> bool:
    if socket is None:
        return False
    try:
        _, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    writer.close()
    return True
