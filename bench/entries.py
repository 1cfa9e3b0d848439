# SPDX-License-Identifier: Apache-2.0
"""Table entries per second over P4Runtime: softswitch, and simple_switch_grpc where it is on PATH.

The client is bare gRPC with requests built and serialised beforehand, so that the figure is the server's. Each request
is sent when the one before it has been answered. The table is the host program's `forward`: three exact keys, one
argument.
"""

from __future__ import annotations

import json
import queue
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from finsy.proto import p4i, p4r, p4r_grpc
from google.protobuf import text_format

from bench.figures import Figure

COMPILED = Path(__file__).parent.parent / "p4src" / "compiled"
BATCHES = {1: 1000, 10: 2000, 100: 4000, 1000: 4000}
"""Entries written per round, by the size of the batch."""
ROUNDS = 15
MANY, MANY_BATCH, MANY_GOAL = 100_000, 1000, 2
DEVICE_ID = 1
_DEADLINE = 30.0
_PEER = "simple_switch_grpc"


@dataclass(frozen=True, slots=True)
class Target:
    """A P4Runtime server to start; its command is completed with the socket's address."""

    name: str
    command: tuple[str, ...]


def measure() -> list[Figure]:
    """Insertions per second by batch size. Raises OSError, grpc.RpcError."""
    targets = [
        Target(
            "softswitch",
            (
                *(sys.executable, "-m", "hvchannel_softswitch", "--no-p4", "--log-level", "warn"),
                *("--device-id", str(DEVICE_ID), "--", "--grpc-server-addr"),
            ),
        )
    ]
    if peer := shutil.which(_PEER):
        general = ("--no-p4", "--log-level", "off", "--device-id", str(DEVICE_ID))
        targets.append(Target(_PEER, (peer, *general, "--", "--grpc-server-addr")))
    with ExitStack() as running:
        channels = {target.name: running.enter_context(_primary_of(target)) for target in targets}
        rates = {size: _rates(channels, size, count) for size, count in BATCHES.items()}
        whole = {name: _fill(channel) for name, channel in channels.items()}
    return [
        *(_figure(name, size, rates[size]) for size in BATCHES for name in channels),
        *(_whole_figure(name, whole) for name in channels),
    ]


def _whole_figure(name: str, seconds: dict[str, float]) -> Figure:
    title, taken = f"{MANY} entries in batches of {MANY_BATCH}, {name}", seconds[name]
    peer = seconds.get(_PEER)
    if name == _PEER:
        return Figure(title, taken, "s")
    return Figure(
        title,
        taken,
        "s",
        _PEER if peer else None,
        taken / peer if peer else None,
        goal=f"<= {MANY_GOAL} s",
        passed=taken <= MANY_GOAL,
    )


def _fill(channel: grpc.Channel) -> float:
    """Seconds to write a large table full, into a pipeline that has just been set."""
    requests = list(_requests(p4r.Update.INSERT, MANY_BATCH, MANY))
    _set_pipeline(channel, room=MANY)
    write: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/p4.v1.P4Runtime/Write")
    began = time.perf_counter()
    for request in requests:
        write(request)
    return time.perf_counter() - began


def _figure(name: str, size: int, rates: dict[str, float]) -> Figure:
    title, value = f"entries/s in batches of {size}, {name}", rates[name]
    if name == _PEER or _PEER not in rates:
        return Figure(title, value, "entries/s")
    return Figure(title, value, "entries/s", _PEER, value / rates[_PEER])


@contextmanager
def _primary_of(target: Target) -> Iterator[grpc.Channel]:
    with _running(target) as address, grpc.insecure_channel(address) as channel, _primary(channel):
        _set_pipeline(channel)
        yield channel


def _rates(channels: Mapping[str, grpc.Channel], size: int, count: int) -> dict[str, float]:
    """By target, the median of the rounds, which the targets take by turns: what else the machine does meanwhile
    meets them all. The deletions between the rounds do not count."""
    insertions = list(_requests(p4r.Update.INSERT, size, count))
    deletions = list(_requests(p4r.Update.DELETE, 1000, count))
    rates: dict[str, list[float]] = {name: [] for name in channels}
    for _ in range(ROUNDS):
        for name, channel in channels.items():
            write: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/p4.v1.P4Runtime/Write")
            began = time.perf_counter()
            for request in insertions:
                write(request)
            rates[name].append(count / (time.perf_counter() - began))
            for request in deletions:
                write(request)
    return {name: statistics.median(taken) for name, taken in rates.items()}


def _requests(kind: p4r.Update.Type.ValueType, size: int, count: int) -> Iterator[bytes]:
    info = _p4info()
    table = next(table for table in info.tables if table.preamble.alias == "forward")
    action = next(action for action in info.actions if action.preamble.alias == "to_port")
    for start in range(0, count, size):
        request = p4r.WriteRequest(device_id=DEVICE_ID, election_id=p4r.Uint128(low=1))
        for number in range(start, min(start + size, count)):
            entry = request.updates.add(type=kind).entity.table_entry
            entry.table_id = table.preamble.id
            values = {"vni": 5001, "dst_mac": 0x020000000000 + number, "dst_ip": 0xA9FE0000 + number}
            for field in table.match_fields:
                entry.match.add(field_id=field.id).exact.value = _bytes(values[field.name])
            entry.action.action.action_id = action.preamble.id
            entry.action.action.params.add(param_id=action.params[0].id, value=b"\x02")
        yield request.SerializeToString()


def _bytes(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _p4info() -> p4i.P4Info:
    return text_format.Parse((COMPILED / "host_vswitch.p4info.txtpb").read_text(), p4i.P4Info())


@contextmanager
def _running(target: Target) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="hvc-bench-") as directory:
        address = f"unix:{directory}/p4rt.sock"
        with subprocess.Popen(
            [*target.command, address], cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                _wait_for(Path(directory) / "p4rt.sock", process)
                yield address
            finally:
                process.terminate()


def _wait_for(socket: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _DEADLINE
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise OSError(f"{process.args!r} does not serve {socket} (exit code {process.poll()})")
        time.sleep(0.05)


@contextmanager
def _primary(channel: grpc.Channel) -> Iterator[None]:
    """Is primary as long as its stream is open."""
    claim = p4r.MasterArbitrationUpdate(device_id=DEVICE_ID, election_id=p4r.Uint128(low=1))
    requests: queue.SimpleQueue[p4r.StreamMessageRequest | None] = queue.SimpleQueue()
    requests.put(p4r.StreamMessageRequest(arbitration=claim))
    stub = p4r_grpc.P4RuntimeStub(channel)
    responses = stub.StreamChannel(iter(requests.get, None))
    next(responses)
    try:
        yield
    finally:
        requests.put(None)
        responses.cancel()


def _set_pipeline(channel: grpc.Channel, room: int | None = None) -> None:
    """With `room`, the table that is written to is declared that large."""
    info, code = _p4info(), json.loads((COMPILED / "host_vswitch.json").read_bytes())
    if room is not None:
        next(table for table in info.tables if table.preamble.alias == "forward").size = room
        tables = [table for pipeline in code["pipelines"] for table in pipeline["tables"]]
        next(table for table in tables if table["name"] == "forward")["max_size"] = room
    config = p4r.ForwardingPipelineConfig(p4info=info, p4_device_config=json.dumps(code).encode())
    request = p4r.SetForwardingPipelineConfigRequest(
        device_id=DEVICE_ID,
        election_id=p4r.Uint128(low=1),
        action=p4r.SetForwardingPipelineConfigRequest.VERIFY_AND_COMMIT,
        config=config,
    )
    stub = p4r_grpc.P4RuntimeStub(channel)
    stub.SetForwardingPipelineConfig(request, timeout=_DEADLINE)
