# SPDX-License-Identifier: Apache-2.0
"""guestd's hooks: run for each change, never in the way of anything, and the control plane hears how they ended."""

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.guestd import hook_directory
from hvchannel_daemons.guestd.client import GuestClient, GuestClientError
from hvchannel_daemons.guestd.hook_directory import HooksError
from hvchannel_daemons.guestd.hook_process import OUTPUT_BYTES
from hvchannel_daemons.guestd.hooks import HookOptions

# what a hook can be made to do: say what it saw, and wait until the test writes to the FIFO of its key
TELL = 'echo "$HVCHANNEL_EVENT $HVCHANNEL_KEY $HVCHANNEL_REVISION $(cat)" >> "$(dirname "$0")/../seen"\n'
WAIT = 'fifo="$(dirname "$0")/../fifo-$HVCHANNEL_KEY"; [ ! -p "$fifo" ] || cat "$fifo" > /dev/null\n'


class Rigged:
    """A guestd with hooks, and a hypervisor by hand."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hooks = directory / "hooks"
        self.hooks.mkdir(mode=0o755)
        self.host = None
        self.reports: list[dict] = []

    def hook(self, name: str, script: str, mode: int = 0o755) -> None:
        path = self.hooks / name
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(mode)

    def fifo(self, key: str) -> Path:
        path = self.directory / f"fifo-{key}"
        os.mkfifo(path)
        return path

    async def put(self, key: str, revision: int, content: bytes | None = b"") -> None:
        digest = hashlib.sha256(content).digest() if content is not None else b""
        begin = pb.DocumentBegin(
            key=key,
            revision=revision,
            content_type="text/plain",
            sha256=digest,
            size=len(content or b""),
            deleted=content is None,
            data=content or b"",
        )
        await self.host.send(begin=begin)

    async def acked(self, key: str, revision: int) -> None:
        """Its ack, whatever reports come before it."""
        while True:
            message = await self.host.receive()
            if message.HasField("report"):
                self._take(message.report)
            elif any((a.key, a.revision) == (key, revision) for a in message.acks.acks):
                return

    async def reported(self, key: str, revision: int) -> dict:
        """What the hooks' report about this change said."""
        while True:
            for report in self.reports:
                if (report["key"], report["revision"]) == (key, revision):
                    return report
            message = await self.host.receive()
            if message.HasField("report"):
                self._take(message.report)

    def _take(self, report: pb.Report) -> None:
        assert (report.type, report.content_type) == ("hook", "application/json")
        said = json.loads(report.data)
        self.reports.append(said | {"key": report.about_key, "revision": report.about_revision})

    def seen(self) -> list[str]:
        path = self.directory / "seen"
        return path.read_text().splitlines() if path.exists() else []

    async def saw(self, line: str) -> bool:
        return line in self.seen()


Start = Callable[..., contextlib.AbstractAsyncContextManager[Rigged]]


@pytest.fixture
def rigged(rig, short_dir: Path) -> tuple[Rigged, Start]:
    guest = Rigged(short_dir)

    @contextlib.asynccontextmanager
    async def start(**options) -> AsyncIterator[Rigged]:
        hooks = HookOptions(guest.hooks, **options)
        files = short_dir / "files"
        async with (
            rig.guestd(short_dir, "127.0.0.1:0", hooks=hooks, files=files) as port,
            rig.raw_host(f"127.0.0.1:{port}") as host,
        ):
            guest.host = host
            await host.hello()
            yield guest

    return guest, start


async def test_hooks_run_in_order_with_what_they_need(rigged) -> None:
    guest, start = rigged
    guest.hook("20-second", 'echo "file $(cat "$HVCHANNEL_FILE")" >&2; exit 3\n')
    guest.hook("10-first", TELL + 'echo "$HVCHANNEL_CONTENT_TYPE $HVCHANNEL_SIZE $HVCHANNEL_VIF"\n')
    guest.hook("30-left-over~", "exit 9\n")
    guest.hook("40-no-program", "exit 9\n", mode=0o644)
    async with start():
        await guest.put("net/a", 4, b"hello")
        report = await guest.reported("net/a", 4)
        first, second = report["hooks"]
        assert (report["event"], report["ok"]) == ("put", False)
        assert (first["hook"], first["status"], first["output"]) == ("10-first", 0, "text/plain 5 vm1")
        assert (second["hook"], second["ok"], second["status"]) == ("20-second", False, 3)
        assert second["output"] == "file hello"
        await guest.put("net/a", 5, None)
        assert (await guest.reported("net/a", 5))["event"] == "delete"
        assert guest.seen() == ["put net/a 4 hello", "delete net/a 5 "]
        await guest.put("never", 1, None)  # of which no hook has heard
        await guest.put("last", 1)
        await guest.reported("last", 1)
        assert len(guest.reports) == 3


async def test_a_hanging_hook_delays_neither_acks_nor_other_keys(rig, rigged) -> None:
    guest, start = rigged
    guest.hook("hook", TELL + WAIT)
    guest.fifo("slow")
    async with start(timeout_seconds=60):
        await guest.put("slow", 1)
        await guest.acked("slow", 1)
        await rig.eventually(lambda: guest.saw("put slow 1 "), "the slow hook runs")
        for revision in range(1, 4):
            await guest.put("fast", revision)
            assert (await guest.reported("fast", revision))["ok"]
        await guest.put("slow", 2)
        await guest.acked("slow", 2)
        assert [r["key"] for r in guest.reports] == ["fast"] * 3


async def test_a_hook_that_takes_too_long_is_killed_with_its_children(rig, rigged) -> None:
    guest, start = rigged
    pids = guest.directory / "pids"
    guest.hook("hook", f'trap "" TERM; sleep 1000 & echo $! > {pids}; echo waiting >&2; wait; wait\n')
    async with start(timeout_seconds=0.5):
        await guest.put("a", 1)
        (hook,) = (await guest.reported("a", 1))["hooks"]
        assert (hook["timed_out"], hook["ok"], hook["output"]) == (True, False, "waiting")

        await rig.eventually(lambda: asyncio.to_thread(gone, pids), "the hook's child is gone")


def gone(pid: Path) -> bool:
    stat = Path(f"/proc/{pid.read_text().strip()}/stat")
    return not stat.exists() or stat.read_text().split()[2] == "Z"


async def test_what_a_hook_leaves_behind_does_not_hold_it(rigged) -> None:
    guest, start = rigged
    guest.hook("hook", f"sleep 1000 & echo $! > {guest.directory}/pid; yes | head -c 100000\n")
    async with start(timeout_seconds=60):
        await guest.put("a", 1)
        (hook,) = (await guest.reported("a", 1))["hooks"]
        os.kill(int((guest.directory / "pid").read_text()), 9)
        assert hook["ok"] and 0 < len(hook["output"]) <= OUTPUT_BYTES


async def test_of_one_key_one_after_the_other_and_the_newest_in_the_end(rig, rigged) -> None:
    guest, start = rigged
    guest.hook("hook", TELL + WAIT)
    fifo = guest.fifo("a")
    async with start(timeout_seconds=60):
        await guest.put("a", 1)
        await rig.eventually(lambda: guest.saw("put a 1 "), "the first runs")
        for revision in range(2, 9):
            await guest.put("a", revision)
            await guest.acked("a", revision)
        await asyncio.to_thread(release, fifo)
        assert (await guest.reported("a", 1))["ok"]
        assert (await guest.reported("a", 8))["ok"]
        assert guest.seen() == ["put a 1 ", "put a 8 "]


def release(fifo: Path) -> None:
    """Lets the hook that waits go on, and those after it."""
    writing = os.open(fifo, os.O_WRONLY)
    fifo.unlink()
    os.close(writing)


async def test_a_hook_that_did_not_finish_runs_again(rig, rigged, processes) -> None:
    """guestd is killed while a hook runs; those that had finished do not run again."""
    guest, _ = rigged
    guest.hook("hook", TELL + WAIT)
    fifo = guest.fifo("slow")
    options = ("--hooks", str(guest.hooks), "--hook-timeout", "60")
    guestd = processes.guestd("vm1", "127.0.0.1", *options)
    await rig.eventually(lambda: answers(guest.directory / "vm1/guestd.sock"), "guestd")
    async with rig.raw_host(f"127.0.0.1:{processes.port}") as host:
        guest.host = host
        await host.hello()
        await guest.put("done", 1)
        await guest.reported("done", 1)
        await host.send(report_ack=pb.ReportAck(sequence=1))
        await guest.put("slow", 1)
        await guest.acked("slow", 1)
        await rig.eventually(lambda: guest.saw("put slow 1 "), "the hook runs")
    guestd.kill()
    await asyncio.to_thread(release, fifo)
    guest.reports.clear()
    processes.guestd("vm1", "127.0.0.1", *options)
    await rig.eventually(lambda: answers(guest.directory / "vm1/guestd.sock"), "guestd again")
    async with rig.raw_host(f"127.0.0.1:{processes.port}") as host:
        guest.host = host
        assert await host.hello() == {"done": 1, "slow": 1}
        assert (await guest.reported("slow", 1))["ok"]
    assert guest.seen() == ["put done 1 ", "put slow 1 ", "put slow 1 "]


async def answers(socket: Path) -> bool:
    def status() -> bool:
        try:
            with GuestClient(socket) as client:
                return bool(client.status().hooks)
        except GuestClientError:
            return False

    return await asyncio.to_thread(status)


async def test_hooks_that_others_could_have_written_are_refused(rigged) -> None:
    guest, start = rigged
    guest.hook("10-theirs", "exit 0\n", mode=0o777)
    guest.hook("20-ours", "exit 0\n")
    async with start():
        await guest.put("a", 1)
        theirs, ours = (await guest.reported("a", 1))["hooks"]
        assert (theirs["ok"], ours["ok"]) == (False, True)
        assert theirs["error"] == "others may write to it, mode 0777 (valid: such as 0755)"
        guest.hook("10-theirs", "exit 0\n")
        os.chown(guest.hooks / "10-theirs", 4711, -1)
        await guest.put("a", 2)
        assert "belongs to user 4711" in (await guest.reported("a", 2))["hooks"][0]["error"]
        (guest.hooks / "10-theirs").unlink()
        guest.hook("10-theirs", "", mode=0o755)
        (guest.hooks / "10-theirs").write_bytes(b"no program")
        await guest.put("a", 3)
        assert "Exec format error" in (await guest.reported("a", 3))["hooks"][0]["error"]


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HooksError, match="No such file"):
        hook_directory.hooks(tmp_path / "missing")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(HooksError, match="is not a directory"):
        hook_directory.hooks(tmp_path / "file")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(HooksError, match="others may write to it, mode 0777"):
        hook_directory.hooks(tmp_path / "open")


async def has_none_pending(socket: Path) -> bool:
    def status() -> bool:
        with GuestClient(socket) as client:
            return client.status().hooks_pending == 0

    return await asyncio.to_thread(status)


async def test_a_hook_that_comes_later_is_run_at_later_changes(rig, rigged) -> None:
    guest, start = rigged
    guest.hook("first", TELL)
    async with start():
        await guest.put("a", 1)
        await guest.reported("a", 1)
    guest.hook("late", TELL)
    async with start():
        await guest.put("b", 1)
        await guest.reported("b", 1)
    seen = (guest.directory / "seen").read_text()
    assert (seen.count("put a 1"), seen.count("put b 1")) == (1, 2)
