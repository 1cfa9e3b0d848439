# SPDX-License-Identifier: Apache-2.0
"""The verbs that daemons give to the `hvchannel` command."""

import asyncio
import json
from pathlib import Path

import pytest
import typer
from hvchannel_daemons.commands import register
from hvchannel_daemons.feed import Ack, Feed, Outcome, Report, open_feed
from hvchannel_daemons.hostd.main import app as hostd
from typer.testing import CliRunner, Result

app = typer.Typer()
register(app)


class Cli:
    def __init__(self, feed: str) -> None:
        self.feed = feed

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(app, [*arguments, "--feed", self.feed], input=stdin)

    def fill(self, work) -> None:
        """Does hostd's part."""

        async def opened() -> None:
            feed = await open_feed(self.feed)
            await work(feed)
            await feed.close()

        asyncio.run(opened())


@pytest.fixture(params=["sqlite", "nats"])
def cli(request: pytest.FixtureRequest, tmp_path: Path) -> Cli:
    sqlite = request.param == "sqlite"
    return Cli(str(tmp_path / "feed.db") if sqlite else request.getfixturevalue("nats_feed"))


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


def test_history(cli: Cli) -> None:
    cli("put", "vm1", "a", "--text", "first")
    cli("put", "vm1", "a", "--text", "second")
    cli("delete", "vm1", "a")
    lines = cli("history", "vm1", "a").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["3", "2", "1"]
    assert lines[0].endswith("deleted") and "5 bytes text/plain" in lines[2]
    known = [json.loads(line) for line in cli("history", "vm1", "a", "--json").stdout.splitlines()]
    assert [(k["revision"], k["deleted"]) for k in known] == [(3, True), (2, False), (1, False)]
    assert cli("get", "vm1", "a", "--revision", "1").stdout == "first"
    wrong = cli("get", "vm1", "a", "--revision", "9")
    assert (wrong.exit_code, "valid: 1, 2, 3" in wrong.stderr) == (1, True)
    never = cli("history", "vm1", "never")
    assert (never.exit_code, never.stderr) == (1, "hvchannel: VIF vm1 has no document never\n")


def test_watch(cli: Cli) -> None:
    cli("put", "vm1", "a", "--text", "x")
    cli("put", "vm1", "b", "--text", "x")
    lines = cli("watch", "vm1", "--count", "2").stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [["a", "revision", "1"], ["b", "revision", "1"]]
    (first, second) = (
        json.loads(line) for line in cli("watch", "vm1", "--count", "2", "--json").stdout.splitlines()
    )
    assert first["position"] < second["position"]
    later = cli("watch", "vm1", "--after", str(first["position"]), "--count", "1").stdout
    assert later.startswith("b ")


def test_import_of_a_directory(cli: Cli, tmp_path: Path) -> None:
    for name, content in {"vm1/net/config": b"one", "vm2/greeting": b"two"}.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    done = cli("import", str(tmp_path / "in"))
    assert (done.exit_code, done.stdout) == (0, "vm1 net/config 1\nvm2 greeting 1\n")
    (tmp_path / "in/vm2/greeting").write_bytes(b"three")
    again = cli("import", str(tmp_path / "in"))
    assert (again.stdout, again.stderr) == ("vm2 greeting 2\n", "1 changed, 1 as they were\n")
    assert cli("get", "vm2", "greeting").stdout == "three"
    (tmp_path / "in/stray").write_bytes(b"")
    stray = cli("import", str(tmp_path / "in"))
    assert stray.exit_code == 2 and "stray: is in no VIF's directory" in stray.stderr


def test_import_of_lines(cli: Cli, tmp_path: Path) -> None:
    cli("put", "vm1", "old", "--text", "x")
    cli("put", "vm1", "b", "-", "--content-type", "a/b", stdin=b"\xff\x00")
    said = cli("get", "vm1", "b", "--json").stdout
    file = tmp_path / "documents.jsonl"
    file.write_text(said.replace('"vm1"', '"vm3"') + '{"vif": "vm1", "key": "old", "deleted": true}\n')
    done = cli("import", str(file))
    assert (done.exit_code, done.stdout) == (0, "vm3 b 1\nvm1 old 2\n")
    assert cli("get", "vm3", "b").stdout_bytes == b"\xff\x00"
    file.write_text('{"vif": "vm9", "key": "a", "text": "x"}\n{"vif": "vm9", "key": "a b", "text": "x"}\n')
    wrong = cli("import", str(file))
    assert wrong.exit_code == 2 and f"{file}: line 2: key 'a b' is not valid" in wrong.stderr
    assert cli("history", "vm9", "a").exit_code == 1, "nothing is put when anything is wrong"


def test_put_group(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_bytes(b"cert")
    cli("put", "vm1", "old", "--text", "x")
    done = cli(
        "put-group", "vm1", f"tls/cert={tmp_path}/cert.pem", "--text", "tls/name=vm1", "--delete", "old"
    )
    assert (done.exit_code, done.stdout) == (0, "tls/cert 1\ntls/name 1\nold 2\n")
    known = json.loads(cli("get", "vm1", "tls/name", "--json").stdout)
    assert (known["text"], known["content_type"]) == ("vm1", "text/plain")
    assert cli("get", "vm1", "tls/cert").stdout == "cert"
    assert cli("put-group", "vm1", "a=-", stdin=b"from stdin").stdout == "a 1\n"
    for arguments, message in (
        ([], "no documents (valid: KEY=FILE"),
        (["a"], "'a' is not KEY=FILE"),
        (["--text", "a b=x"], "key 'a b' is not valid"),
        (["--text", "a=1", "--text", "a=2"], "key 'a' is in the group twice"),
    ):
        wrong = cli("put-group", "vm1", *arguments)
        assert (wrong.exit_code, message in wrong.stderr, wrong.stderr.count("\n")) == (2, True, 1)


def test_import_as_groups(cli: Cli, tmp_path: Path) -> None:
    for name in ("vm1/a", "vm1/b", "vm2/a"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"1")
    done = cli("import", "--atomic", str(tmp_path / "in"))
    assert (done.exit_code, done.stdout) == (0, "vm1 a 1\nvm1 b 1\nvm2 a 1\n")
    (tmp_path / "in/vm1/b").write_bytes(b"2")
    again = cli("import", "--atomic", str(tmp_path / "in"))
    assert (again.stdout, again.stderr) == ("vm1 b 2\n", "1 changed, 2 as they were\n")
    (tmp_path / "in/vm1/a").write_bytes(b"3")
    for n in range(65):
        (tmp_path / f"in/vm2/{n}").write_bytes(b"")
    many = cli("import", "--atomic", str(tmp_path / "in"))
    assert (many.exit_code, "VIF vm2: a group of 65 documents" in many.stderr) == (2, True)

    async def look(feed: Feed) -> None:
        sizes = {d.document.key: d.document.group_size for d in await feed.deliveries("vm1")}
        assert sizes == {"a": 2, "b": 0}

    cli.fill(look)


def test_quota(cli: Cli) -> None:
    cli("put", "vm1", "a", "--text", "12345")
    assert cli("quota", "vm1").stdout == (
        "bytes               5 of 1073741824 (1 GiB)\n"
        "documents           1 of 16384\n"
        "reports per second  50\n"
    )
    changed = cli("quota", "vm1", "--bytes", "1KiB", "--documents", "2", "--json")
    assert json.loads(changed.stdout) == {
        "vif": "vm1",
        "quota": {"bytes": 1024, "documents": 2, "reports_per_second": 50.0},
        "used": {"bytes": 5, "documents": 1},
    }
    refused = cli("put", "vm1", "b", "-", stdin=bytes(1020))
    assert (refused.exit_code, refused.stderr) == (
        1,
        "hvchannel: VIF vm1 uses 5 of 1024 bytes, 1020 more are too many "
        "(`hvchannel quota vm1` shows and changes it)\n",
    )
    assert cli("get", "vm1", "b").exit_code == 1
    assert "1 of 16384" in cli("quota", "vm1", "--default").stdout
    for arguments, message in (
        (["--bytes", "many"], "size 'many' is not valid"),
        (["--documents", "16385"], "16385 documents is not valid (valid: 0 to 16384)"),
    ):
        wrong = cli("quota", "vm1", *arguments)
        assert (wrong.exit_code, message in wrong.stderr) == (2, True)


def test_wait(cli: Cli) -> None:
    cli("put", "vm1", "a", "--text", "x")
    late = cli("wait", "vm1", "a", "--timeout", "0.1")
    assert late.exit_code == 1
    assert late.stderr == (
        "hvchannel: VIF vm1: a revision 1 is not acknowledged after 0.1 s; "
        "session DETACHED: no hostd serves the VIF (is it attached somewhere, and hostd running there?)\n"
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


def test_reports(cli: Cli) -> None:
    report = Report(bytes(16), 1, "answer", "text/plain", b"well", 1, "a", 1)
    cli.fill(lambda feed: feed.add_reports("vm1", [report]))
    (line,) = cli("reports", "vm1", "--json").stdout.splitlines()
    stored = json.loads(line)
    assert (stored["text"], stored["about_key"], stored["about_revision"]) == ("well", "a", 1)
    assert "answer" in cli("reports", "vm1").stdout
    number = str(stored["number"])
    assert cli("reports", "vm1", "--after", number).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["put", "vm1", "a b", "--text", "x"], 2, "key 'a b' is not valid"),
        (["put", "vm1", "a"], 2, "either as FILE (- for stdin) or by --text"),
        (["put", "vm1", "a", "/nonexistent/file"], 1, "/nonexistent/file: No such file or directory"),
        (["wait", "vm1", "never"], 1, "there is no "),
        (["history", "vm1", "never"], 1, "there is no "),
        (["import", "/nonexistent"], 1, "/nonexistent: No such file or directory"),
    ],
)
def test_errors_are_one_line(cli: Cli, arguments: list[str], code: int, message: str) -> None:
    failed = cli(*arguments)
    assert failed.exit_code == code
    assert message in failed.stderr and failed.stderr.count("\n") == 1


def test_a_feed_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HVCHANNEL_FEED", raising=False)
    failed = CliRunner().invoke(app, ["status"])
    assert failed.exit_code == 2
    assert "HVCHANNEL_FEED" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--feed", "http://h:1"], "scheme 'http' is not known (valid: a path, nats://HOST:PORT"),
        (["--feed", "nats://user:hunter2@h:1"], "credentials do not belong into the URL"),
        (["--feed", "nats://h:port"], "'h:port' is no HOST:PORT"),
        (["--feed", "nats://h:1/a b"], "name 'a b' is not valid"),
        (["--feed", "nats://h:1", "--feed-ca", "/x"], "--feed-ca needs TLS: give --feed tls://"),
        (["--feed", "tls://h:1", "--feed-cert", "/x"], "--feed-cert and --feed-key go together"),
        (["--feed", "nats://h:1", "--feed-replicas", "2"], "--feed-replicas 2 is not valid (valid: 1, 3, 5)"),
        (["--feed", "/a/path", "--feed-credentials", "/x"], "--feed-credentials is for a feed on NATS"),
    ],
)
def test_a_feed_that_is_none_is_explained(arguments: list[str], message: str) -> None:
    failed = CliRunner().invoke(app, ["status", *arguments])
    assert failed.exit_code == 2
    assert message in failed.stderr and "hunter2" not in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_a_host_that_is_none_is_explained() -> None:
    failed = CliRunner().invoke(hostd, ["--control", "/x", "--feed", "/y", "--host", "hv 1"])
    assert (failed.exit_code, failed.stderr.count("\n")) == (2, 1)
    assert "hostd: host 'hv 1' is not valid (valid: 1 to 63 characters of" in failed.stderr


def test_every_help_teaches_by_example() -> None:
    for verb in (
        *("put", "put-group", "quota", "get", "delete", "wait", "history", "watch", "import", "status"),
        *("diagnose", "reports"),
    ):
        shown = CliRunner().invoke(app, [verb, "--help"])
        assert shown.exit_code == 0
        assert f"Example: hvchannel {verb}" in shown.stdout and "--feed-credentials" in shown.stdout
