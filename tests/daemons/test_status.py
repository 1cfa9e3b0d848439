# SPDX-License-Identifier: Apache-2.0
"""`hvchannel status`: one row per VIF from the feed and the controller, and what it shows when either is away."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
import typer
from hvchannel_control.api import control_pb2 as pb
from hvchannel_control.api import control_pb2_grpc
from hvchannel_daemons.commands import register
from hvchannel_daemons.feed import Ack, Feed, Outcome, Session, SessionState, open_feed
from hvchannel_daemons.reasons import Reason
from typer.testing import CliRunner, Result

app = typer.Typer()
register(app)


class Control(control_pb2_grpc.ControlServicer):
    """What status asks of a controller."""

    def __init__(self) -> None:
        self.vifs = [vif("vm1"), vif("vm2")]
        self.status = pb.Status(switch_connected=True, in_sync=True, leases_used=2, leases_total=9)

    def List(self, request, context):  # noqa: N802 - gRPC's name
        return pb.ListResponse(vifs=self.vifs)

    def GetStatus(self, request, context):  # noqa: N802 - gRPC's name
        return self.status


def vif(name: str, link: pb.Link.State.ValueType = pb.Link.UP) -> pb.Vif:
    lip = f"169.254.1.{10 + int(name[-1])}"
    told = pb.Link(state=link, interface=f"vnic{name[-1]}")
    return pb.Vif(vif_id=name, lip=lip, state=pb.Vif.REALISED, link=told)


@contextlib.contextmanager
def serving(control: Control, path: Path) -> Iterator[None]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    control_pb2_grpc.add_ControlServicer_to_server(control, server)
    server.add_insecure_port(f"unix:{path}")
    server.start()
    yield
    server.stop(None)


@pytest.fixture
def control(short_dir: Path) -> Iterator[Control]:
    fake = Control()
    with serving(fake, short_dir / "control.sock"):
        yield fake


@pytest.fixture(params=["sqlite", "nats"])
def where(request: pytest.FixtureRequest, short_dir: Path) -> str:
    sqlite = request.param == "sqlite"
    return str(short_dir / "feed.db") if sqlite else request.getfixturevalue("nats_feed")


class Status:
    """The command, while a hostd of the test serves the feed."""

    def __init__(self, where: str, directory: Path) -> None:
        self.where, self.socket = where, directory / "control.sock"

    def __call__(self, *arguments: str) -> Result:
        words = ["status", *arguments, "--feed", self.where, "--socket", str(self.socket)]
        return CliRunner().invoke(app, words)

    def json(self, *arguments: str) -> dict:
        return json.loads(self("--json", *arguments).stdout)

    def served(self, work, check) -> None:
        """Does hostd's part, and calls `check` while it is there."""

        async def run() -> None:
            feed = await open_feed(self.where)
            await feed.serve("hv1")
            for name in ("vm1", "vm2"):
                await feed.claim(name, nobody)
            try:
                await work(feed)
                await asyncio.to_thread(check)
            finally:
                await feed.close()

        asyncio.run(run())


@pytest.fixture
def status(where: str, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Status:
    monkeypatch.delenv("HVCHANNEL_CONTROL", raising=False)
    return Status(where, short_dir)


async def nobody(host: str) -> None:
    raise AssertionError(f"{host} holds the VIF")


async def two_vms(feed: Feed) -> None:
    for name in ("vm1", "vm2"):
        await feed.put(name, "a", b"x", "")
        await feed.put(name, "b", b"x", "")
        await feed.record_acks(name, [Ack(key, 1, Outcome.STORED, 1) for key in "ab"])
        await feed.set_session(
            Session(
                *(name, SessionState.READY, "", time.time_ns(), "169.254.1.11:2345", 1, "guest", "hv1"),
                *(Reason.NONE, Reason.REFUSED, "connection refused", time.time_ns(), 3, 1),
            )
        )


def test_all_is_well(status: Status, control: Control) -> None:
    def check() -> None:
        shown = status()
        assert shown.exit_code == 0, shown.output
        (row,) = (line.split() for line in shown.stdout.splitlines() if line.strip().startswith("vm1"))
        assert row[:7] == ["vm1", "hv1", "up", "in", "sync", "169.254.1.11", "READY"]
        assert "2 of 2" in shown.stdout
        assert "REFUSED" in shown.stdout and "connection refused" in shown.stdout, "the last error stays"
        told = status.json()
        assert (told["well"], told["missing"]) == (True, [])
        assert [switch["leases_used"] for switch in told["switches"]] == [2]
        vm1 = told["vifs"][0]
        assert (vm1["host"], vm1["served"], vm1["contenders"]) == ("hv1", True, [])
        assert (vm1["documents"], vm1["acknowledged"], vm1["pending"], vm1["lag_seconds"]) == (2, 2, [], 0)
        assert vm1["session"]["last_error"]["code"] == "REFUSED"
        assert (vm1["session"]["attempts"], vm1["session"]["sessions"]) == (3, 1)
        assert [row["vif"] for row in status.json("vm2")["vifs"]] == ["vm2"]
        assert status.json("--host", "hv1")["vifs"] and not status.json("--host", "hv2")["vifs"]
        nobody = status("vm9")
        assert (nobody.exit_code, nobody.stderr.count("\n")) == (1, 1)

    status.served(two_vms, check)
    assert "hostd of hv1 is not running" in status().stdout
    told = status.json()
    assert {(row["state"], row["served"]) for row in told["vifs"]} == {("UNKNOWN", False)}
    assert status().exit_code == 1


def test_what_lags_is_told(status: Status, control: Control) -> None:
    async def work(feed: Feed) -> None:
        await two_vms(feed)
        await feed.put("vm1", "a", b"y", "")
        session = (await feed.sessions())["vm1"]
        flapping = Session(
            *(
                "vm1",
                SessionState.FLAPPING,
                "lost",
                time.time_ns(),
                session.address,
                0,
                "",
                "hv1",
                Reason.LOST,
            ),
            *(Reason.LOST, "lost", time.time_ns(), 9, 8, time.time_ns() + 20_000_000_000),
        )
        await feed.set_session(flapping)

    control.vifs[0].link.state = pb.Link.NO_CARRIER
    control.vifs[0].state = pb.Vif.PENDING

    def check() -> None:
        shown = status()
        assert shown.exit_code == 1
        for text in ("no carrier", "pending", "FLAPPING LOST, next attempt in", "1 of 2"):
            assert text in shown.stdout
        vm1 = status.json()["vifs"][0]
        (pending,) = vm1["pending"]
        assert (pending["key"], pending["desired"], pending["acknowledged"]) == ("a", 2, 1)
        assert vm1["lag_seconds"] > 0

    status.served(work, check)


def test_without_a_controller_the_rest_is_shown(status: Status) -> None:
    def check() -> None:
        shown = status()
        assert shown.exit_code == 1
        assert "READY" in shown.stdout and "2 of 2" in shown.stdout
        assert f"links, tables and leases: no controller answers at {status.socket}" in shown.stdout
        assert status.json()["switches"] == []

    status.served(two_vms, check)


def test_without_a_feed_the_rest_is_shown(control: Control, short_dir: Path) -> None:
    shown = Status(str(short_dir / "none.db"), short_dir)()
    assert shown.exit_code == 1
    assert "169.254.1.11" in shown.stdout and "UNKNOWN" in shown.stdout
    assert "not known: sessions and documents: " in shown.stdout


@pytest.mark.parametrize("words", [["--json"], []])
def test_watch_tells_changes_and_ends_well_with_ctrl_c(
    control: Control, short_dir: Path, words: list[str]
) -> None:
    where = str(short_dir / "feed.db")
    asyncio.run(filled(where, "a"))
    code = (
        "from hvchannel_daemons.commands import register; import typer; a = typer.Typer(); register(a); a()"
    )
    argv = [sys.executable, "-c", code, "status", "--watch", "--feed", where, *words]
    environment = os.environ | {"HVCHANNEL_CONTROL": str(short_dir / "control.sock"), "COLUMNS": "250"}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            until(process.stdout, "1 of 1" if not words else '"documents": 1')
            asyncio.run(filled(where, "b"))
            until(process.stdout, "1 of 2" if not words else '"documents": 2')
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()


def until(lines: Iterator[str], text: str) -> None:
    for line in lines:
        if text in line:
            return
    raise AssertionError(f"{text!r} never came")


async def filled(where: str, key: str) -> None:
    feed = await open_feed(where)
    await feed.put("vm1", key, b"x", "")
    if key == "a":
        await feed.record_acks("vm1", [Ack("a", 1, Outcome.STORED, 1)])
    await feed.close()
