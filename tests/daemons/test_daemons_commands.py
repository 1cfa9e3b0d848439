# SPDX-License-Identifier: Apache-2.0
"""The verbs that daemons give to the `hvchannel` command."""

import asyncio
import json
from pathlib import Path

import pytest
import typer
from hvchannel_daemons.commands import register
from hvchannel_daemons.feed import Ack, Outcome, Report, Session, SessionState, SqliteFeed
from typer.testing import CliRunner, Result

app = typer.Typer()
register(app)


class Cli:
    def __init__(self, feed: Path) -> None:
        self.feed = feed

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(app, [*arguments, "--feed", str(self.feed)], input=stdin)

    def fill(self, work) -> None:
        """Does hostd's part."""

        async def opened() -> None:
            feed = await SqliteFeed.open(self.feed)
            await work(feed)
            await feed.close()

        asyncio.run(opened())


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path / "feed.db")


def test_put_and_get(cli: Cli, tmp_path: Path) -> None:
    assert cli("put", "vm1", "a", "--text", "hello").stdout == "1\n"
    (tmp_path / "file").write_bytes(b"\x00\xff")
    assert cli("put", "vm1", "a", str(tmp_path / "file")).stdout == "2\n"
    got = cli("get", "vm1", "a")
    assert got.stdout_bytes == b"\x00\xff"
    assert got.stderr == "a: revision 2, not in the VM yet\n"
    assert cli("put", "vm1", "a", "-", "--content-type", "text/x", stdin=b"from stdin").stdout == "3\n"
    known = json.loads(cli("get", "vm1", "a", "--json").stdout)
    assert (known["revision"], known["acknowledged"], known["text"]) == (3, 0, "from stdin")
    assert known["content_type"] == "text/x"


def test_delete(cli: Cli) -> None:
    cli("put", "vm1", "a", "--text", "x")
    assert cli("delete", "vm1", "a").stdout == "2\n"
    again = cli("delete", "vm1", "a")
    assert (again.exit_code, again.stderr) == (1, "hvchannel: VIF vm1 has no document a\n")
    assert cli("get", "vm1", "a").exit_code == 1
    assert json.loads(cli("get", "vm1", "a", "--json").stdout)["deleted"] is True


def test_wait(cli: Cli) -> None:
    cli("put", "vm1", "a", "--text", "x")
    late = cli("wait", "vm1", "a", "--timeout", "0.1")
    assert late.exit_code == 1
    assert late.stderr == (
        "hvchannel: VIF vm1: a revision 1 is not acknowledged after 0.1 s; "
        "session unknown: hostd is not running\n"
    )
    cli.fill(lambda feed: feed.record_acks("vm1", [Ack("a", 1, Outcome.STORED, 1)]))
    assert cli("wait", "vm1", "a").stdout == "1\n"
    cli("put", "vm1", "a", "--text", "y")
    assert cli("wait", "vm1", "a", "--revision", "1").stdout == "1\n"
    cli.fill(lambda feed: feed.record_acks("vm1", [Ack("a", 2, Outcome.REJECTED, 1, "too large")]))
    rejected = cli("wait", "vm1", "a")
    assert (rejected.exit_code, rejected.stderr) == (
        1,
        "hvchannel: VIF vm1 rejected a revision 2: too large\n",
    )


def test_vms_and_reports(cli: Cli) -> None:
    cli("put", "vm1", "a", "--text", "x")
    cli("put", "vm1", "b", "--text", "x")
    report = Report(bytes(16), 1, "answer", "text/plain", b"well", 1, "a", 1)

    async def hostd(feed: SqliteFeed) -> None:
        await feed.record_acks("vm1", [Ack("a", 1, Outcome.STORED, 1)])
        await feed.add_reports("vm1", [report])
        await feed.set_session(Session("vm1", SessionState.READY, "", 1, "169.254.1.10:2345", 1, "guest"))
        await feed.claim()
        served = json.loads(await asyncio.to_thread(lambda: cli("vms", "--json").stdout))
        assert served["served"] is True
        (vm,) = served["vms"]
        assert (vm["vif"], vm["state"], vm["documents"], vm["acknowledged"]) == ("vm1", "READY", 2, 1)
        assert vm["last_report"]["type"] == "answer"

    cli.fill(hostd)
    after = cli("vms")
    assert "UNKNOWN" in after.stdout and after.stderr == "hostd is not running\n"
    (line,) = cli("reports", "vm1", "--json").stdout.splitlines()
    stored = json.loads(line)
    assert (stored["text"], stored["about_key"], stored["about_revision"]) == ("well", "a", 1)
    assert "answer" in cli("reports", "vm1").stdout
    assert cli("reports", "vm1", "--after", "1").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["put", "vm1", "a b", "--text", "x"], 2, "key 'a b' is not valid"),
        (["put", "vm1", "a"], 2, "either as FILE (- for stdin) or by --text"),
        (["put", "vm1", "a", "/nonexistent/file"], 1, "/nonexistent/file: No such file or directory"),
        (["wait", "vm1", "never"], 1, "there is no such file"),
        (["vms"], 1, "there is no such file"),
    ],
)
def test_errors_are_one_line(cli: Cli, arguments: list[str], code: int, message: str) -> None:
    failed = cli(*arguments)
    assert failed.exit_code == code
    assert message in failed.stderr and failed.stderr.count("\n") == 1


def test_a_feed_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HVCHANNEL_FEED", raising=False)
    failed = CliRunner().invoke(app, ["vms"])
    assert failed.exit_code == 2
    assert "HVCHANNEL_FEED" in failed.stderr
