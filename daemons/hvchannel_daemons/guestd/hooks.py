# SPDX-License-Identifier: Apache-2.0
"""Runs the hooks of each change: of one key one after the other, several keys at once. The control plane hears of it.

Which changes still need their hooks follows from the store (`hooked`), so a restart forgets none and a key that changes
faster than its hooks run skips what was replaced.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import structlog

from hvchannel_daemons import limits
from hvchannel_daemons.guestd import hook_directory, hook_process
from hvchannel_daemons.guestd.files import Files
from hvchannel_daemons.guestd.hook_directory import HooksError
from hvchannel_daemons.guestd.hook_process import Outcome
from hvchannel_daemons.guestd.store import GuestStore
from hvchannel_daemons.guestd.store_tables import Stored
from hvchannel_daemons.storage.database import DatabaseError
from hvchannel_daemons.storage.pieces import ContentGone

log = structlog.get_logger()

REPORT_TYPE: Final = "hook"
_AGAIN_SECONDS: Final = 1.0
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")


@dataclass(frozen=True, slots=True)
class HookOptions:
    directory: Path
    timeout_seconds: float = 30.0  # of each hook
    at_once: int = 4  # keys


class Hooks:
    """`start` it once the files are there; `wake` it when more are."""

    def __init__(self, store: GuestStore, files: Files, options: HookOptions, socket: Path) -> None:
        """`socket`: of the local API, which hooks are told. Raises HooksError."""
        hook_directory.check_directory(options.directory)
        self.directory = options.directory
        self._store = store
        self._files = files
        self._options = options
        self._socket = socket
        self._position = 0  # of the last change that was looked at
        self._finished: dict[str, int] = {}  # positions, by key
        self._pending: dict[str, Stored] = {}  # the newest change of each key whose hooks have not begun
        self._running: dict[str, asyncio.Task[None]] = {}
        self._woken = asyncio.Event()
        self._refused: set[str] = set()  # hooks of which the log has heard
        self._task: asyncio.Task[None] | None = None

    @property
    def pending(self) -> int:
        return len(self._pending.keys() | self._running.keys())

    @property
    def running(self) -> int:
        return len(self._running)

    async def start(self) -> None:
        """Raises DatabaseError."""
        self._finished = await self._store.hooked()
        for hook in hook_directory.hooks(self.directory):
            self._tell_refused(hook)
        self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        self._woken.set()

    async def stop(self) -> None:
        """Kills the hooks that run; they run again after the next start."""
        tasks = [task for task in (self._task, *self._running.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                for change in await self._store.changes(
                    "", after=self._position, until=self._files.position, limit=sys.maxsize
                ):
                    self._position = change.position
                    if self._wanted(change):
                        self._pending[change.key] = change
                    else:
                        self._pending.pop(change.key, None)
            except DatabaseError as error:
                log.error("store_failed", error=str(error))
                return
            for key in [key for key in self._pending if key not in self._running]:
                if len(self._running) >= self._options.at_once:
                    break
                self._running[key] = asyncio.create_task(self._handle(self._pending.pop(key)))
            await self._woken.wait()

    def _wanted(self, change: Stored) -> bool:
        if change.deleted:
            # of a document that no hook has heard of none needs to hear that it is gone
            return change.key in self._finished or change.key in self._running
        return change.position > self._finished.get(change.key, 0)

    async def _handle(self, change: Stored) -> None:
        try:
            outcomes = await self._outcomes(change)
            await self._finish(change, outcomes)
        except ContentGone:
            pass  # replaced meanwhile: the newer change comes
        except (HooksError, DatabaseError, OSError) as error:
            log.error("hooks_failed", key=change.key, revision=change.revision, error=str(error))
            await asyncio.sleep(_AGAIN_SECONDS)
            self._pending.setdefault(change.key, change)
        finally:
            del self._running[change.key]
            self._woken.set()

    async def _outcomes(self, change: Stored) -> list[Outcome]:
        """Raises ContentGone, HooksError, DatabaseError, OSError."""
        found = await asyncio.to_thread(hook_directory.hooks, self.directory)
        outcomes: list[Outcome] = []
        with tempfile.TemporaryFile(dir=self._store.directory) as content:
            await self._read(change, content)
            environment = await self._environment(change)
            for hook in found:
                self._tell_refused(hook)
                if hook.refused:
                    outcome = Outcome(hook.path.name, None, error=hook.refused)
                else:
                    outcome = await hook_process.run(
                        hook.path, environment, content, self._options.timeout_seconds
                    )
                outcomes.append(outcome)
                say = log.info if outcome.ok else log.warning
                say("hook", key=change.key, revision=change.revision, **outcome.as_json())
        return outcomes

    async def _read(self, change: Stored, into: IO[bytes]) -> None:
        for n in range(-(-change.size // limits.PIECE_BYTES)):
            into.write(await self._store.piece(change, n))
        into.flush()

    async def _environment(self, change: Stored) -> Mapping[str, str]:
        vif, _, _ = await self._store.counts()
        path = None if change.deleted else self._files.path(change.key)
        return {name: os.environ[name] for name in _INHERITED if name in os.environ} | {
            "HVCHANNEL_EVENT": "delete" if change.deleted else "put",
            "HVCHANNEL_KEY": change.key,
            "HVCHANNEL_REVISION": str(change.revision),
            "HVCHANNEL_CONTENT_TYPE": change.content_type,
            "HVCHANNEL_SIZE": str(change.size),
            "HVCHANNEL_SHA256": change.sha256.hex(),
            "HVCHANNEL_FILE": str(path) if path is not None else "",
            "HVCHANNEL_VIF": vif,
            "HVCHANNEL_GUEST_SOCKET": str(self._socket.absolute()),
        }

    async def _finish(self, change: Stored, outcomes: list[Outcome]) -> None:
        report = _report(change, outcomes) if outcomes else None
        if not await self._store.finish_hooks(change, REPORT_TYPE, report):
            log.warning("hook_outcome_not_reported", key=change.key, why="the queue of reports is full")
        if change.deleted:
            self._finished.pop(change.key, None)
        else:
            self._finished[change.key] = change.position

    def _tell_refused(self, hook: hook_directory.Hook) -> None:
        if not hook.refused:
            self._refused.discard(hook.path.name)
        elif hook.path.name not in self._refused:
            self._refused.add(hook.path.name)
            log.warning("hook_refused", hook=str(hook.path), why=hook.refused)


def _report(change: Stored, outcomes: list[Outcome]) -> bytes:
    hooks = [outcome.as_json() for outcome in outcomes]
    said = {
        "event": "delete" if change.deleted else "put",
        "ok": all(outcome.ok for outcome in outcomes),
        "hooks": hooks,
    }
    data = json.dumps(said).encode()
    if len(data) > limits.REPORT_BYTES:
        for hook in hooks:
            hook.pop("output", None)
        data = json.dumps(said).encode()
    return data
