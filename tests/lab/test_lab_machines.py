# SPDX-License-Identifier: Apache-2.0
"""What stands around a VM that is a machine, without booting one: what it needs, its packages, its initramfs, QEMU's
monitor, the window's streams."""

import asyncio
import gzip
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hvchannel_lab.guest.link import MARK, Link, Stream, marked
from hvchannel_lab.qemu import accel, needs, packages, qmp
from hvchannel_lab.qemu.initramfs import make
from hvchannel_lab.qemu.packages import ImageError, Packages
from hvchannel_lab.qemu.relay import clock_offset

# --- what a machine must have


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that has it all, as far as this test is concerned; its cache."""
    monkeypatch.setattr(needs.shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 40))
    monkeypatch.setattr(needs, "_no_tap", lambda: "")
    return tmp_path / "none" / "yet"


@pytest.mark.parametrize(
    ("program", "package"),
    [("qemu-system-x86_64", "qemu-system-x86"), ("mkfs.ext4", "e2fsprogs"), ("depmod", "kmod")],
)
def test_a_program_that_is_wanting_is_named_with_its_package(
    whole: Path, monkeypatch: pytest.MonkeyPatch, program: str, package: str
) -> None:
    assert needs.lacking(1, whole) == ""
    monkeypatch.setattr(needs.shutil, "which", lambda name: None if name == program else name)
    assert needs.lacking(1, whole) == f"program {program!r}: not on PATH; apt-get install {package}"


def test_memory_and_room_are_counted(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "100000 VMs that are machines: 51200256 MiB of memory are wanted" in needs.lacking(100_000, whole)
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda path: SimpleNamespace(free=5 << 20))
    assert "5 MiB are free; HVCHANNEL_CACHE names another folder" in needs.lacking(1, whole)


def test_no_tap_is_said_with_what_would_be_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(needs, "_TUN", tmp_path / "tun")
    assert "No such file or directory; a VNIC is a tap: `modprobe tun`" in needs._no_tap()
    (tmp_path / "tun").touch()
    assert "no tap can be made" in needs._no_tap()  # it is a file like any other


# --- the accelerator


@pytest.fixture
def qemu(tmp_path: Path) -> Callable[[str], str]:
    """A program in QEMU's place."""

    def made(script: str) -> str:
        path = tmp_path / "qemu"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return made


def never_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the two tiny guests, the one under KVM: whatever else this machine does."""
    seconds = accel._seconds
    monkeypatch.setattr(
        accel, "_seconds", lambda qemu, disk, accel: 99.0 if accel == "tcg" else seconds(qemu, disk, accel)
    )


@pytest.mark.parametrize(
    ("script", "because"),
    [
        (
            "echo 'kvm_buf_set_msrs: Assertion failed.' >&2; kill -ABRT $$",
            "KVM: kvm_buf_set_msrs: Assertion failed.",
        ),
        ("exit 0", "KVM: no word of why"),
        ("exec sleep 100", "KVM: a tiny guest did not end within 0.2 s"),
        (
            'case "$*" in *isa-debug-exit*) exit 33;; esac; exec sleep 100',
            "KVM: a guest's kernel did not start within 0.3 s",
        ),
    ],
)
def test_kvm_that_does_not_work_is_not_taken(
    qemu: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, because: str
) -> None:
    (tmp_path / "kvm").touch()
    monkeypatch.setattr(accel, "_KVM", tmp_path / "kvm")
    monkeypatch.setattr(accel, "_WITHIN", 0.2 if "sleep" in script and "case" not in script else 60.0)
    monkeypatch.setattr(accel, "_KERNEL_WITHIN", 0.3)
    never_slower(monkeypatch)
    assert accel.accelerator(qemu(script), tmp_path, tmp_path) == ("tcg", because)


def test_kvm_is_taken_where_a_kernel_comes_to_the_end_of_its_start(
    qemu: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kvm").touch()
    monkeypatch.setattr(accel, "_KVM", tmp_path / "kvm")
    monkeypatch.setattr(accel, "_WITHIN", 60.0)
    monkeypatch.setattr(accel, "_KERNEL_WITHIN", 60.0)
    never_slower(monkeypatch)
    script = 'case "$*" in *isa-debug-exit*) exit 33;; esac; '
    taken, _ = accel.accelerator(qemu(script + "echo 'VFS: Unable to mount root fs'"), tmp_path, tmp_path)
    assert taken == "kvm"


def test_without_kvm_there_is_no_trying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "_KVM", tmp_path / "none")
    assert accel.accelerator("/no/qemu", tmp_path, tmp_path)[0] == "tcg"


# --- Debian packages


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A script in the place of apt-get and apt-cache."""

    def made(script: str) -> None:
        for name in ("apt-get", "apt-cache"):
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return made


WANTED = Packages("6.1", "linux_1_amd64.deb", ("busybox_2%3a3_amd64.deb",))


def test_packages_are_fetched_once_and_whole(apt: Callable[[str], None], tmp_path: Path) -> None:
    apt(f'echo "$@" >> {tmp_path}/asked; touch linux_1_amd64.deb busybox_2%3a3_amd64.deb')
    into = tmp_path / "packages"
    found = packages.fetch(WANTED, into)
    assert found == [into / "linux_1_amd64.deb", into / "busybox_2%3a3_amd64.deb"]
    assert packages.fetch(WANTED, into) == found
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert asked.endswith("download -qq linux=1 busybox=2:3")
    assert sorted(path.name for path in into.iterdir()) == sorted(path.name for path in found)


def test_a_download_that_fails_leaves_nothing_that_looks_whole(
    apt: Callable[[str], None], tmp_path: Path
) -> None:
    apt("touch linux_1_amd64.deb; echo 'E: Could not resolve deb.debian.org' >&2; exit 100")
    with pytest.raises(ImageError, match=r"^apt-get download linux=1 busybox=2:3: E: Could not resolve"):
        packages.fetch(WANTED, tmp_path / "packages")
    assert list((tmp_path / "packages").iterdir()) == []


def test_a_download_that_brings_another_version_is_an_error(
    apt: Callable[[str], None], tmp_path: Path
) -> None:
    apt("touch linux_2_amd64.deb busybox_2%3a3_amd64.deb")
    with pytest.raises(ImageError, match=r"did not bring linux_1_amd64\.deb; apt-get update, and again"):
        packages.fetch(WANTED, tmp_path / "packages")


def test_an_archive_that_hangs_is_an_error(
    apt: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_WITHIN", 0.2)
    apt("exec sleep 100")
    with pytest.raises(ImageError, match=r"apt-cache depends linux-image-cloud-amd64: did not end|apt-get"):
        packages.wanted()


def test_an_archive_without_the_kernel_is_an_error(apt: Callable[[str], None]) -> None:
    apt("true")
    with pytest.raises(ImageError, match="apt knows no linux-image-cloud-amd64; a Debian archive for amd64"):
        packages.wanted()


# --- the initramfs


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An unpacked kernel package in which virtio_net needs two others, and all else but `veth` is built in."""
    base = tmp_path / "kernel/lib/modules/6.1"
    base.mkdir(parents=True)
    for name in ("virtio_net", "net_failover", "failover", "veth"):
        (base / f"{name}.ko").write_bytes(name.encode())
    (base / "modules.dep").write_text(
        "virtio_net.ko: net_failover.ko failover.ko\nnet_failover.ko: failover.ko\nfailover.ko:\nveth.ko:\n"
    )
    built_in = ("virtio_pci", "virtio_blk", "virtio_console", "ext4")
    (base / "modules.builtin").write_text("".join(f"kernel/{name}.ko\n" for name in built_in))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: None)  # depmod
    return tmp_path / "kernel"


def members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        size, length = int(archive[at + 54 : at + 62], 16), int(archive[at + 94 : at + 102], 16)
        name = archive[at + 110 : at + 110 + length - 1].decode()
        if name == "TRAILER!!!":
            return
        begin = (at + 110 + length + 3) & ~3
        yield name, archive[begin : begin + size]
        at = (begin + size + 3) & ~3


def test_drivers_are_loaded_after_those_they_need(kernel: Path, tmp_path: Path) -> None:
    (tmp_path / "busybox").write_bytes(b"box")
    make(kernel, "6.1", tmp_path / "busybox", tmp_path / "initramfs")
    found = dict(members(gzip.decompress((tmp_path / "initramfs").read_bytes())))
    order = found["modules/order"].decode().split()
    assert order.index("failover.ko") < order.index("net_failover.ko") < order.index("virtio_net.ko")
    assert set(order) == {"virtio_net.ko", "net_failover.ko", "failover.ko", "veth.ko"}
    assert found["modules/veth.ko"] == b"veth"
    assert found["init"].startswith(b"#!/bin/busybox sh\n")


def test_a_kernel_without_a_driver_is_an_error(kernel: Path, tmp_path: Path) -> None:
    (kernel / "lib/modules/6.1/modules.builtin").write_text("")
    (tmp_path / "busybox").touch()
    with pytest.raises(ImageError, match=r"kernel 6\.1 has no driver virtio_pci"):
        make(kernel, "6.1", tmp_path / "busybox", tmp_path / "initramfs")


# --- QEMU's monitor


async def monitor(socket: Path, answers: dict[str, list[dict[str, Any]]]) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"QMP": {}}\n')
        while line := await reader.readline():
            for answer in answers.get(json.loads(line)["execute"], [{"return": {}}]):
                writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    return await asyncio.start_unix_server(serve, socket)


async def test_a_command_returns_and_waits_for_its_event(tmp_path: Path) -> None:
    async with await monitor(
        tmp_path / "qmp",
        {
            "query-status": [{"event": "RESUME"}, {"return": {"running": True}}],
            "device_del": [{"return": {}}, {"event": "OTHER"}, {"event": "DEVICE_DELETED"}],
        },
    ):
        assert await qmp.execute(tmp_path / "qmp", "query-status") == {"running": True}
        assert await qmp.execute(tmp_path / "qmp", "device_del", {}, event="DEVICE_DELETED") == {}


async def test_a_refusal_is_qemus_own_words(tmp_path: Path) -> None:
    async with await monitor(tmp_path / "qmp", {"device_add": [{"error": {"desc": "Bus not found"}}]}):
        with pytest.raises(qmp.QmpError, match=r"^device_add: Bus not found$"):
            await qmp.execute(tmp_path / "qmp", "device_add")


async def test_an_event_that_does_not_come_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qmp, "_WITHIN", 0.3)
    async with await monitor(tmp_path / "qmp", {}):
        with pytest.raises(qmp.QmpError, match=r"^device_del: no DEVICE_DELETED within 0\.3 s$"):
            await qmp.execute(tmp_path / "qmp", "device_del", {}, event="DEVICE_DELETED")
    with pytest.raises(qmp.QmpError, match=r"^cont: "):
        await qmp.execute(tmp_path / "gone", "cont")


# --- the window's streams


class Both:
    """A guest's end and the host's, over a unix socket in the port's place."""

    def __init__(self, host: Link, guest: Link) -> None:
        self.host, self.guest = host, guest


async def both(tmp_path: Path, serve: Callable[[dict[str, Any], Stream], Any]) -> Both:
    ends: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ends.put((reader, writer))

    server = await asyncio.start_unix_server(connected, tmp_path / "port")
    reader, writer = await asyncio.open_unix_connection(tmp_path / "port")
    guest_reader, guest_writer = await ends.get()
    guest_writer.write(b"left of an earlier life" + MARK)
    rest = await marked(reader)
    host, guest = Link(writer), Link(guest_writer, serve)
    made = Both(host, guest)
    made.server, made.writers = server, (writer, guest_writer)  # type: ignore[attr-defined]
    made.tasks = [  # type: ignore[attr-defined]
        asyncio.ensure_future(host.run(reader, rest)),
        asyncio.ensure_future(guest.run(guest_reader)),
    ]
    return made


async def over(made: Any) -> None:
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)
    for writer in made.writers:
        writer.close()
    made.server.close()


async def test_streams_are_apart_whole_and_end(tmp_path: Path) -> None:
    async def echo(asked: dict[str, Any], stream: Stream) -> None:
        await stream.write(asked["say"].encode())
        while data := await stream.read():
            await stream.write(data)

    made = await both(tmp_path, echo)
    one, other = await made.host.open(say="one "), await made.host.open(say="other ")
    large = bytes(range(256)) * 1000
    for part in (large, b"!"):
        await one.write(part)
        await other.write(part[::-1])
    await one.close()
    await other.close()
    async with asyncio.timeout(60):
        assert await one.read_all() == b"one " + large + b"!"
        assert await other.read_all() == b"other " + large[::-1] + b"!"
    await over(made)


async def test_a_guest_that_begins_anew_ends_what_was_open(tmp_path: Path) -> None:
    async def silent(_: dict[str, Any], stream: Stream) -> None:
        await stream.read()

    made: Any = await both(tmp_path, silent)
    stream = await made.host.open()
    made.writers[1].write(MARK + b"new life")
    async with asyncio.timeout(60):
        assert await made.tasks[0] == b"new life"
        assert await stream.read() == b""
    with pytest.raises(ConnectionResetError, match="begun anew"):
        await stream.write(b"into the old one")
    await over(made)


async def test_the_clocks_difference_is_that_of_the_quickest_round(tmp_path: Path) -> None:
    class Slow:
        """Answers 1 s ahead of us."""

        async def write(self, _: bytes) -> None:
            pass

        async def read(self) -> bytes:

            return (time.monotonic_ns() + 10**9).to_bytes(8, "big")

    offset = await clock_offset(Slow())  # type: ignore[arg-type]
    assert -(10**9) - 10**9 < offset <= -(10**9) + 10**9
