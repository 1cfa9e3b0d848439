# SPDX-License-Identifier: Apache-2.0
"""One run of one hook: its process group has a limited time, and of what it prints the end is kept."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

OUTPUT_BYTES: Final = 2048  # kept of what a hook printed
_TERM_SECONDS: Final = 2.0  # from SIGTERM to SIGKILL


@dataclass(frozen=True, slots=True)
class Outcome:
    hook: str
    status: int | None  # exit status; -N: ended by signal N; None: it never ran
    seconds: float = 0.0
    timed_out: bool = False
    output: str = ""  # the last of what it printed on stdout and stderr
    error: str = ""  # why it never ran

    @property
    def ok(self) -> bool:
        return self.status == 0 and not self.timed_out

    def as_json(self) -> dict[str, object]:
        said: dict[str, object] = {"hook": self.hook, "ok": self.ok}
        if self.status is None:
            return said | {"error": self.error}
        said |= {"status": self.status, "seconds": round(self.seconds, 3), "output": self.output}
        return said | ({"timed_out": True} if self.timed_out else {})


async def run(
    path: Path, environment: Mapping[str, str], content: IO[bytes], timeout_seconds: float
) -> Outcome:
    """Runs the hook with `content` as its stdin, from the beginning. Cancelled, it kills the hook first."""
    begun = time.monotonic()
    with _Tail() as tail:
        try:
            content.seek(0)
            process = await asyncio.create_subprocess_exec(
                path,
                stdin=content,
                stdout=tail.writing,
                stderr=tail.writing,
                env=dict(environment),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            return Outcome(path.name, None, error=f"{path}: {error.strerror}")
        tail.started()
        timed_out = False
        try:
            try:
                async with asyncio.timeout(timeout_seconds):
                    status = await process.wait()
            except TimeoutError:
                timed_out = True
                _kill(process.pid, signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TERM_SECONDS):
                        await process.wait()
                _kill(process.pid, signal.SIGKILL)  # the rest of its group, too
                status = await process.wait()
        except asyncio.CancelledError:
            _kill(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
            raise
        return Outcome(path.name, status, time.monotonic() - begun, timed_out, tail.text())


def _kill(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


class _Tail:
    """The end of what is written to a pipe. Not asyncio's: that one waits for whoever the hook left behind with it."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self.writing, True)
        self._kept = b""
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> "_Tail":
        self._loop.add_reader(self._reading, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._reading)
        os.close(self._reading)
        self.started()

    def started(self) -> None:
        """The hook has the writing end now."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def text(self) -> str:
        self._read()
        return self._kept.decode("utf-8", "replace").strip()

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(64):  # a hook that prints without end must not keep the loop
                piece = os.read(self._reading, 65536)
                if not piece:
                    self._loop.remove_reader(self._reading)
                    return
                self._kept = (self._kept + piece)[-OUTPUT_BYTES:]
