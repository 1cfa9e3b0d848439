# SPDX-License-Identifier: Apache-2.0
"""The command `softswitch`: simple_switch_grpc's command line, errors in one line, a clean end; and the whole switch
over veths in a namespace of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc.aio
import pytest
from finsy.proto import p4i, p4r, p4r_grpc
from google.protobuf import text_format
from hvchannel_softswitch.main import normalise
from hvchannel_softswitch.p4runtime.server import AddressError, P4RuntimeServer

_PROGRAMS = Path(__file__).parent / "programs"
_COMMAND = [sys.executable, "-m", "hvchannel_softswitch"]
_DEADLINE = 20.0


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_COMMAND, *arguments], capture_output=True, text=True, timeout=_DEADLINE, check=False
    )


def test_simple_switch_grpcs_split_command_line_is_one_list(capsys):
    given = ["-i", "1@veth0", "--pcap", "--log-console", "--thrift-port", "9090", "--no-p4", "--"]
    given += ["--grpc-server-addr", "0.0.0.0:9559", "--cpu-port", "255", "--priority-queues=8"]
    expected = [
        "-i",
        "1@veth0",
        "--pcap=.",
        "--no-p4",
        "--grpc-server-addr",
        "0.0.0.0:9559",
        "--cpu-port",
        "255",
    ]
    assert normalise(given) == expected
    assert capsys.readouterr().err == (
        "softswitch: note: --thrift-port is ignored\nsoftswitch: note: --priority-queues is ignored\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "a PROGRAM.json is missing (or --no-p4, to wait for a controller's)"),
        (["--no-p4", "-i", "1veth0"], 2, "--interface: '1veth0' is not PORT@INTERFACE (example: 1@veth0)"),
        (["--no-p4", "-i", "1@a", "-i", "1@b"], 1, "port 1 is given twice: a and b"),
        (["--no-p4", "--cpu-port", "0"], 2, "greater than or equal to 1"),
        (["--no-p4", "--log-level", "loud"], 2, "'trace', 'debug', 'info', 'warn', 'error', 'off'"),
        (["--no-p4", "--colour"], 2, "No such option: --colour"),
        (["--no-p4", "--pcap=/nonexistent"], 2, "--pcap: '/nonexistent' is not a directory"),
        (["--no-p4", "--", "--grpc-server-addr", "nonsense"], 1, "'nonsense' is not an address"),
        (
            ["--no-p4", "--", "--grpc-server-addr", "unix:/nonexistent/s"],
            1,
            "directory '/nonexistent' does not exist",
        ),
        (["/nonexistent.json"], 1, "/nonexistent.json: No such file or directory"),
        ([str(_PROGRAMS / "kinds.p4")], 1, "kinds.p4: "),
    ],
)
def test_errors_are_one_line(arguments, code, message):
    ended = _run(*arguments)
    assert ended.returncode == code
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith("softswitch: ")


def test_help_teaches_by_an_example():
    ended = _run("--help")
    assert ended.returncode == 0
    assert "Example: softswitch -i 1@veth0" in " ".join(ended.stdout.split())


class _Process:
    """A running softswitch: its log lines as they come, and its end."""

    def __init__(self, *arguments: str, prefix: tuple[str, ...] = ()) -> None:
        command = [*prefix, *_COMMAND, "--log-json", *arguments]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        self.lines: list[dict[str, object]] = []
        for line in self._process.stderr:
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == "listening":
                break

    @property
    def address(self) -> str:
        assert self.lines, "ended before it listened"
        return str(self.lines[-1]["address"])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self._process.send_signal(number)
        out, _ = self._process.communicate(timeout=_DEADLINE)
        return self._process.returncode, out

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_listens_and_ends_cleanly(tmp_path, number):
    path = tmp_path / "p4rt.sock"
    process = _Process("--no-p4", "--", "--grpc-server-addr", f"unix:{path}")
    try:
        assert process.address == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert process.stop(number) == (0, "")
        assert not path.exists()
    finally:
        process.kill()


def test_a_killed_ones_socket_is_replaced_a_live_ones_is_not(tmp_path):
    path = tmp_path / "p4rt.sock"
    arguments = ("--no-p4", "--", "--grpc-server-addr", f"unix:{path}")
    _Process(*arguments).kill()
    assert path.exists()
    process = _Process(*arguments)
    try:
        ended = _run(*arguments)
        assert ended.returncode == 1
        assert "another process listens there" in ended.stderr
        assert process.stop()[0] == 0
    finally:
        process.kill()


def test_a_tcp_port_in_use_is_refused():
    process = _Process("--no-p4", "--", "--grpc-server-addr", "127.0.0.1:0")
    try:
        ended = _run("--no-p4", "--", "--grpc-server-addr", process.address)
        assert ended.returncode == 1
        assert f"cannot listen on {process.address}: " in ended.stderr
    finally:
        process.kill()


async def test_a_plain_file_is_not_replaced_by_a_socket(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(AddressError, match="a file that is no socket is there"):
        await P4RuntimeServer(1, _NoDevice(), f"unix:{path}").start()
    assert path.read_text() == "data"


class _NoDevice:
    cpu_port = None

    def load(self, program, config=b""):
        raise NotImplementedError

    def left(self):
        return None

    def inject(self, frame): ...
    def subscribe(self, sinks): ...


_NAMESPACE = "t-p4rt-sw"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=_DEADLINE)


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace with two veth pairs: v1-v1p and v2-v2p, all up."""
    name = f"{_NAMESPACE}-{os.getpid()}"
    _ip("netns", "add", name)
    try:
        for pair in ("v1", "v2"):
            _ip("-n", name, "link", "add", pair, "type", "veth", "peer", "name", f"{pair}p")
            for end in (pair, f"{pair}p"):
                _ip("-n", name, "link", "set", end, "up")
        yield name
    finally:
        _ip("netns", "del", name)


def _packet_socket(namespace: str, interface: str) -> socket.socket:
    """A packet socket in the namespace; a socket stays in the namespace that it was made in."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    other = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    libc = __import__("ctypes").CDLL(None, use_errno=True)
    try:
        assert libc.setns(other, 0) == 0
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        made.bind((interface, 0))
    finally:
        libc.setns(own, 0)
        os.close(own)
        os.close(other)
    made.settimeout(0.2)
    return made


def _receive(receiver: socket.socket, wanted: bytes, sender: socket.socket) -> bool:
    """Sends the frame until it comes out, since the ports may not be up at once."""
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline:
        sender.send(wanted)
        try:
            while receiver.recv(2048) != wanted:
                pass
            return True
        except TimeoutError:
            continue
    return False


@pytest.mark.root
async def test_the_whole_switch_forwards_between_veths(namespace, tmp_path):
    trace, address = tmp_path / "trace.jsonl", f"unix:{tmp_path / 'p4rt.sock'}"
    process = _Process(
        *(
            "-i",
            "1@v1",
            "-i",
            "2@v2",
            "--no-p4",
            "--device-id",
            "1",
            f"--pcap={tmp_path}",
            "--trace-file",
            str(trace),
        ),
        *("--", "--grpc-server-addr", address, "--cpu-port", "510"),
        prefix=("ip", "netns", "exec", namespace),
    )
    frame = bytes.fromhex("00000000000aaa00000000011234") + bytes(46)
    try:
        await _program(address)
        with _packet_socket(namespace, "v1p") as sender, _packet_socket(namespace, "v2p") as receiver:
            assert await asyncio.to_thread(_receive, receiver, frame, sender)
        assert process.stop()[0] == 0
    finally:
        process.kill()
    traced = [json.loads(line) for line in trace.read_text().splitlines()]
    assert {"port": 2, "frame": frame.hex()} in [out for packet in traced for out in packet["out"]]
    assert frame in (tmp_path / "v1_in.pcap").read_bytes()
    assert frame in (tmp_path / "v2_out.pcap").read_bytes()


async def _program(address: str) -> None:
    info = text_format.Parse((_PROGRAMS / "forward.p4info.txtpb").read_text(), p4i.P4Info())
    code = (_PROGRAMS / "forward.json").read_bytes()
    one = p4r.Uint128(low=1)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = p4r_grpc.P4RuntimeStub(channel)
        stream = stub.StreamChannel()
        claim = p4r.MasterArbitrationUpdate(device_id=1, election_id=one)
        await stream.write(p4r.StreamMessageRequest(arbitration=claim))
        await stream.read()
        config = p4r.ForwardingPipelineConfig(p4info=info, p4_device_config=code)
        await stub.SetForwardingPipelineConfig(
            p4r.SetForwardingPipelineConfigRequest(device_id=1, election_id=one, action=3, config=config)
        )
        entry = p4r.TableEntry(table_id=info.tables[0].preamble.id)
        match = entry.match.add(field_id=1)
        match.lpm.value, match.lpm.prefix_len = b"\xaa\x00\x00\x00\x00\x00", 8
        to_port = next(action for action in info.actions if action.preamble.alias == "to_port")
        entry.action.action.action_id = to_port.preamble.id
        entry.action.action.params.add(param_id=1, value=b"\x02")
        update = p4r.Update(type=p4r.Update.INSERT, entity=p4r.Entity(table_entry=entry))
        await stub.Write(p4r.WriteRequest(device_id=1, election_id=one, updates=[update]))
