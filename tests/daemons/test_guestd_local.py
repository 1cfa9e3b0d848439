# SPDX-License-Identifier: Apache-2.0
"""guestd's side for local programs: the unix socket, watch, and the command line."""

import asyncio
import hashlib
import json
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.guestd import daemon, listening
from hvchannel_daemons.guestd.client import GuestClient, GuestClientError
from hvchannel_daemons.guestd.files import Files
from hvchannel_daemons.guestd.hooks import HookOptions
from hvchannel_daemons.guestd.store import Binding, GuestStore
from hvchannel_daemons.guestd.store_tables import Arrived

GUESTD = [sys.executable, "-c", "from hvchannel_daemons.guestd.main import main; main()"]


def arrived(key: str, revision: int, content: bytes | None) -> Arrived:
    digest = hashlib.sha256(content).digest() if content is not None else b""
    return Arrived(key, revision, "text/plain", digest, len(content or b""), content)


class Guest:
    """A guestd inside the test, and its store, filled without a hypervisor."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "guestd.sock"
        self.store: GuestStore
        self.binding: Binding
        self.files: Files | None = None

    async def put(self, key: str, revision: int, content: bytes | None) -> None:
        await self.store.apply(self.binding, [arrived(key, revision, content)])
        await self.publish()

    async def put_group(self, *documents: tuple[str, int, bytes | None]) -> None:
        await self.store.apply_group(self.binding, [arrived(*document) for document in documents])
        await self.publish()

    async def publish(self) -> None:
        if self.files is not None:
            await self.files.publish()

    async def cli(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [*GUESTD, arguments[0], "--socket", str(self.socket), *arguments[1:]]
        return await asyncio.to_thread(subprocess.run, command, input=stdin, capture_output=True, timeout=60)


@pytest.fixture
async def guest(rig, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Guest]:
    guest = Guest(short_dir)

    class Known(GuestStore):
        def __init__(self, directory: Path) -> None:
            super().__init__(directory)
            guest.store = self

    class KnownFiles(Files):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, **options)
            guest.files = self

    monkeypatch.setattr(daemon, "GuestStore", Known)
    monkeypatch.setattr(daemon, "Files", KnownFiles)
    async with rig.guestd(short_dir, "127.0.0.1:0"):
        guest.binding = await guest.store.bind("vm1", "o")
        yield guest


class Watcher:
    """`watch` in a thread; what it saw is in `seen`."""

    def __init__(self, socket: Path, prefix: str = "", **options) -> None:
        self.client = GuestClient(socket)
        self.seen: list[tuple[str, str, int, bytes | None]] = []
        self.more: list[tuple[str, bool]] = []
        self._thread = threading.Thread(target=self._run, args=(prefix, options), daemon=True)
        self._thread.start()

    def _run(self, prefix: str, options: dict) -> None:
        try:
            for change in self.client.watch(prefix, **options):
                self.more.append((change.key, change.more))
                self.seen.append((change.kind, change.key, change.revision, change.content))
        except (GuestClientError, ValueError):
            pass  # closed by the test

    async def saw(self, *expected: tuple) -> bool:
        return self.seen[-len(expected) :] == list(expected)

    def close(self) -> None:
        self.client.close()
        self._thread.join(10)


async def test_watch_gives_the_state_then_each_change(rig, guest: Guest) -> None:
    await guest.put("net/a", 3, b"a3")
    await guest.put("other", 1, b"")
    await guest.put("net/old", 1, b"")
    await guest.put("net/old", 2, None)
    watcher = Watcher(guest.socket, "net/")
    synced = ("synced", "", 0, None)
    await rig.eventually(lambda: watcher.saw(("put", "net/a", 3, b"a3"), synced), "the state")
    await guest.put("net/b", 1, b"b")
    await guest.put("other", 2, b"")
    await guest.put("net/a", 4, None)
    await rig.eventually(
        lambda: watcher.saw(("put", "net/b", 1, b"b"), ("deleted", "net/a", 4, None)), "changes"
    )
    watcher.close()


async def test_a_group_is_told_as_one_moment(rig, guest: Guest) -> None:
    await guest.put("a", 1, b"1")
    await guest.put("gone", 1, b"")
    watcher = Watcher(guest.socket)
    await rig.eventually(lambda: watcher.saw(("synced", "", 0, None)), "the state")
    await guest.put_group(("a", 2, b"2"), ("b", 2, b"2"), ("gone", 2, None))
    await guest.put("c", 1, b"")
    await rig.eventually(lambda: watcher.saw(("put", "c", 1, b"")), "all")
    assert watcher.more[-4:] == [("a", True), ("b", True), ("gone", False), ("c", False)]
    watcher.close()


async def test_a_group_with_a_newer_member_is_told_with_it(rig, guest: Guest) -> None:
    """Who was told of `b` of the group alone would see it beside the old `a`."""
    await guest.put("a", 1, b"1")
    watcher = Watcher(guest.socket)
    await rig.eventually(lambda: watcher.saw(("synced", "", 0, None)), "the state")
    assert guest.store is not None
    await guest.store.apply_group(guest.binding, [arrived("a", 2, b"2"), arrived("b", 2, b"2")])
    await guest.store.apply(guest.binding, [arrived("x", 1, b""), arrived("a", 3, b"3")])
    await guest.publish()
    await rig.eventually(lambda: watcher.saw(("put", "a", 3, b"3")), "all")
    assert watcher.more[-3:] == [("b", True), ("x", True), ("a", False)]
    watcher.close()


async def test_a_slow_watcher_sees_the_newest(rig, guest: Guest) -> None:
    watcher = Watcher(guest.socket)
    for revision in range(1, 300):
        await guest.put("a", revision, str(revision).encode())
    await rig.eventually(lambda: watcher.saw(("put", "a", 299, b"299")), "the newest")
    revisions = [revision for kind, _, revision, _ in watcher.seen if kind == "put"]
    assert revisions == sorted(set(revisions))
    watcher.close()


async def test_large_content_does_not_come_inline(rig, guest: Guest) -> None:
    await guest.put("big", 1, bytes(5000))
    watcher = Watcher(guest.socket, inline_bytes=4999)
    await rig.eventually(lambda: watcher.saw(("put", "big", 1, None), ("synced", "", 0, None)), "the state")
    watcher.close()


async def test_watch_goes_on_when_guestd_restarts(rig, short_dir: Path) -> None:
    watcher = Watcher(short_dir / "guestd.sock")

    async def fill(*documents: tuple[str, int, bytes | None]) -> None:
        guest = Guest(short_dir)
        guest.store = await asyncio.to_thread(GuestStore, short_dir / "store")
        guest.binding = await guest.store.bind("vm1", "o")
        for document in documents:
            await guest.put(*document)
        await guest.store.close()

    await fill(("kept", 1, b""), ("gone", 1, b""))
    async with rig.guestd(short_dir, "127.0.0.1:0"):
        await rig.eventually(lambda: watcher.saw(("synced", "", 0, None)), "the state")
    await fill(("gone", 2, None), ("new", 1, b""))
    async with rig.guestd(short_dir, "127.0.0.1:0"):
        expected = [("put", "new", 1, b""), ("deleted", "gone", 1, None)]
        await rig.eventually(lambda: watcher.saw(*expected), "the difference")
    assert len(watcher.seen) == 5
    watcher.close()


async def test_a_report_that_is_tried_again_is_queued_once(guest: Guest) -> None:
    first = await guest.store.queue_report("t", "", b"x", report_id=bytes(16))
    assert await guest.store.queue_report("t", "", b"x", report_id=bytes(16)) == first
    assert len(await guest.store.queued_reports(after=0, limit=10)) == 1


async def test_the_socket_is_private(guest: Guest) -> None:
    mode = (await asyncio.to_thread(guest.socket.stat)).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


async def test_command_line(guest: Guest) -> None:
    await guest.put("net/a", 3, b'{"x": 1}')
    await guest.put("blob", 1, b"\xff\x00")
    done = await guest.cli("get", "net/a")
    assert (done.returncode, done.stdout) == (0, b'{"x": 1}')
    known = json.loads((await guest.cli("get", "net/a", "--json")).stdout)
    assert (known["revision"], known["text"]) == (3, '{"x": 1}')
    assert json.loads((await guest.cli("get", "blob", "--json")).stdout)["base64"] == "/wA="
    listed = (await guest.cli("list", "--json")).stdout.splitlines()
    assert [json.loads(line)["key"] for line in listed] == ["blob", "net/a"]
    done = await guest.cli(
        "report", "--type", "answer", "--key", "net/a", "--revision", "3", "-", stdin=b"ok"
    )
    assert done.stdout == b"1\n"
    (queued,) = await guest.store.queued_reports(after=0, limit=10)
    assert (queued.data, queued.about_key, queued.about_revision) == (b"ok", "net/a", 3)
    status = json.loads((await guest.cli("status", "--json")).stdout)
    assert (status["vif"], status["connected"], status["reports_queued"]) == ("vm1", False, 1)


async def test_command_line_errors_are_one_line(guest: Guest, short_dir: Path) -> None:
    done = await guest.cli("get", "never")
    assert (done.returncode, done.stderr) == (1, b"guestd: no document 'never'\n")
    done = await guest.cli("report", "--type", "a b", "--text", "x")
    assert done.returncode == 1 and b"report type 'a b' is not valid" in done.stderr
    guest.socket = short_dir / "nobody.sock"
    done = await guest.cli("list")
    assert done.stderr == f"guestd: guestd is not running: no socket {guest.socket}\n".encode()


@pytest.mark.parametrize("good", ["169.254.1.2:2345", "127.0.0.9:1", "[fe80::1]:2345", "[::1]:0"])
def test_addresses_of_the_channel_are_allowed(good: str) -> None:
    assert str(listening.endpoint(good, allow_any_address=False)) == good


@pytest.mark.parametrize("bad", ["0.0.0.0:2345", "[::]:2345", "192.168.1.5:2345", "8.8.8.8:53"])
def test_other_addresses_need_a_word(bad: str) -> None:
    with pytest.raises(ValueError, match=r"not link-local or loopback.*--allow-any-address"):
        listening.endpoint(bad, allow_any_address=False)
    assert str(listening.endpoint(bad, allow_any_address=True)) == bad


@pytest.mark.parametrize(
    "nonsense", ["", "169.254.1.2", "localhost:2345", "169.254.1.2:port", "1.2.3.4:99999"]
)
def test_nonsense_addresses_are_named(nonsense: str) -> None:
    with pytest.raises(ValueError, match="is not valid"):
        listening.endpoint(nonsense, allow_any_address=True)


async def test_what_cannot_be_listened_on_is_named(rig, guest: Guest, short_dir: Path, port: int) -> None:
    with pytest.raises(listening.ListenError, match="served by another process"):
        async with rig.guestd(short_dir / "a", "127.0.0.1:0", socket=guest.socket):
            pass
    assert (await guest.cli("list")).returncode == 0
    async with rig.guestd(short_dir / "b", f"127.0.0.1:{port}"):
        with pytest.raises(listening.ListenError, match="Address already in use"):
            async with rig.guestd(short_dir / "c", f"127.0.0.1:{port}"):
                pass
    with pytest.raises(listening.ListenError, match="longer than 107 bytes"):
        async with rig.guestd(short_dir / ("d" * 120), "127.0.0.1:0"):
            pass


async def test_the_local_side_is_up_before_the_address_exists(rig, processes, short_dir: Path) -> None:
    processes.guestd("vm1", "169.254.77.77")  # nobody has this address

    def status() -> bool:
        try:
            with GuestClient(short_dir / "vm1" / "guestd.sock") as client:
                return not client.status().connected
        except GuestClientError:
            return False

    await rig.eventually(lambda: asyncio.to_thread(status), "the local API")
    assert await asyncio.to_thread(processes.started[0].terminate) == 0
    log = await asyncio.to_thread(processes.started[0].log.read_text)
    assert "waiting_for_address" in log


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--files", "/x", "--no-files"], 2, "--files and --no-files exclude each other"),
        (["--files-mode", "0666"], 2, "files mode '0666' is not valid (valid: 0600, 0640 or 0644)"),
        (["--files-group", "nobodys"], 2, "files group 'nobodys' is not known on this machine"),
        (["--files", "{dir}/home"], 1, "/home: holds files that are not ours, which would be removed"),
        (["--hooks", "/nonexistent"], 1, "hooks /nonexistent: No such file or directory"),
    ],
)
def test_what_guestd_cannot_run_with_is_one_line(
    short_dir: Path, options: list[str], code: int, message: str
) -> None:
    (short_dir / "home").mkdir()
    (short_dir / "home/letter").write_bytes(b"dear")
    places = f"--listen 127.0.0.1:0 --state {short_dir}/state --socket {short_dir}/s".split()
    wrong = [option.format(dir=short_dir) for option in options]
    # a process of its own: it gives up its capabilities before it looks at what is there
    failed = subprocess.run([*GUESTD, "run", *places, *wrong], capture_output=True, text=True, check=False)
    assert failed.returncode == code
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("guestd: ")]
    assert message in line


async def test_status_and_list_tell_of_files_and_hooks(rig, short_dir: Path) -> None:
    (short_dir / "hooks").mkdir(mode=0o755)
    guest = Guest(short_dir)
    options = {"files": short_dir / "files", "hooks": HookOptions(short_dir / "hooks")}
    async with (
        rig.guestd(short_dir, "127.0.0.1:0", **options) as port,
        rig.raw_host(f"127.0.0.1:{port}") as host,
    ):
        await host.hello(max_version=2, heartbeat_ms=60_000)  # it sends none, and a command may take seconds
        await host.send(begin=pb.DocumentBegin(key="net/a", revision=3, sha256=hashlib.sha256(b"").digest()))
        await host.ack()
        text = (await guest.cli("status")).stdout.decode()
        assert "VIF vm1: connected, protocol version 2, receiving" in text
        assert f"files in {short_dir}/files\nhooks in {short_dir}/hooks: 0 run, 0 changes pending" in text
        known = json.loads((await guest.cli("status", "--json")).stdout)
        assert (known["files"], known["files_behind"]) == (f"{short_dir}/files", 0)
        (listed,) = (await guest.cli("list", "--json")).stdout.splitlines()
        assert json.loads(listed)["file"] == f"{short_dir}/files/net/a"
