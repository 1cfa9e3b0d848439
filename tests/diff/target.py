# SPDX-License-Identifier: Apache-2.0
"""Two targets side by side: real processes on veths, driven over P4Runtime, and all that comes out of them.

A batch of frames goes into one port and ends with fences, frames whose effects cannot be mistaken: a digest
that says all frames before it have passed the ingress pipeline, then a frame out of every port, which says
that all frames before it have left. So a batch is complete without any waiting for nothing to happen.
"""

from __future__ import annotations

import itertools
import os
import queue
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import finsy as fy
import grpc
from finsy.proto import p4r, p4r_grpc
from hvchannel_control.compiled import find_program
from hvchannel_control.entries import Entry
from hvchannel_control.p4entries import encode_all
from hvchannel_control.reconcile import Operation, Update
from hvchannel_lab import bmv2, network, offload
from hvchannel_lab.namespaces import command_in, inside
from hvchannel_lab.packet_socket import with_tag

from ..traffic.worlds import CPU_PORT

WITHIN = 10.0  # seconds until something that must come counts as missing
_NONCE = struct.Struct(">Q")
_SOL_PACKET, _AUXDATA_OPTION, _IGNORE_OUTGOING, _VLAN_VALID, _TPID_VALID = 263, 8, 23, 1 << 4, 1 << 6
_AUXDATA = struct.Struct("=IIIHHHH")  # linux/if_packet.h: status, len, snaplen, mac, net, vlan_tci, vlan_tpid

Counts = dict[str, tuple[int, int]]
"""Packets and bytes, by entry."""

PacketIn = tuple[tuple[tuple[int, int], ...], bytes]
"""Metadata by id, and the payload."""


class Batch:
    """Frames for one port: bytes, or PacketOuts for the CPU port. No dataclass: hypothesis would print all of it."""

    def __init__(self, port: int, frames: tuple[bytes | PacketOut, ...]) -> None:
        self.port, self.frames = port, frames

    def __repr__(self) -> str:
        heads = (frame if isinstance(frame, bytes) else frame.data for frame in self.frames)
        return f"Batch(port {self.port}, {', '.join(head[:64].hex() for head in heads)})"


@dataclass(frozen=True)
class PacketOut:
    """A frame by way of the controller, with the packet_out metadata that bears the identifier."""

    identifier: int
    data: bytes


@dataclass(frozen=True)
class Fence:
    """A frame, and the port by which it must come out again, whatever is appended to it."""

    out_port: int
    in_port: int
    frame: bytes


@dataclass(frozen=True)
class World:
    """A program, what its tables hold, and how to know that it has done all that it was asked to do.

    `digest_fence` makes, for a port, a frame whose digest bears the source MAC that it is given.
    """

    program: str
    ports: tuple[int, ...]
    entries: tuple[Entry, ...]
    fences: tuple[Fence, ...]
    digest_fence: Callable[[int, bytes], bytes]
    identifier: int


@dataclass
class Outcome:
    """What a batch brought about, fences left out."""

    frames: dict[int, list[bytes]] = field(default_factory=dict)  # by port, in the order in which they left
    packet_ins: list[PacketIn] = field(default_factory=list)
    digests: list[tuple[int, ...]] = field(default_factory=list)  # each once, in the order of the first


class _Port:
    """The tester's end of a veth."""

    def __init__(self, namespace: str, interface: str) -> None:
        with inside(namespace):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(_SOL_PACKET, _AUXDATA_OPTION, 1)
        self.socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        self.socket.bind((interface, 0x0003))  # ETH_P_ALL

    def receive(self, wait: bool = True) -> bytes | None:
        """The next frame with its tag in place; None when none is there (after a while, if `wait`)."""
        if not select.select([self.socket], [], [], WITHIN if wait else 0)[0]:
            return None
        data, ancillary, _, _ = self.socket.recvmsg(1 << 16, 256)
        for _, _, content in ancillary:
            status, _, _, _, _, tci, tpid = _AUXDATA.unpack_from(content)
            if status & _VLAN_VALID:
                data = with_tag(data, tci, tpid if status & _TPID_VALID else 0x8100)
        return data


class Target:
    """One target with a world's program and entries in it."""

    def __init__(self, kind: str, name: str, world: World, folder: Path, stack: ExitStack) -> None:
        self.kind, self.world = kind, world
        self.namespace = f"t-diff-{os.getpid()}-{name}"
        self._nonces = itertools.count(1)
        self._address = f"unix:{folder / f'{name}.sock'}"
        self._ports: dict[int, _Port] = {}
        self._sent: queue.SimpleQueue[p4r.StreamMessageRequest | None] = queue.SimpleQueue()
        self._digests: queue.SimpleQueue[tuple[int, ...]] = queue.SimpleQueue()
        self._packets: queue.SimpleQueue[PacketIn] = queue.SimpleQueue()
        self._primary = threading.Event()
        self._broken: str | None = None
        compiled = find_program(world.program)
        self._config = p4r.ForwardingPipelineConfig(p4_device_config=compiled.device_config.read_bytes())
        self._schema = fy.P4Schema(compiled.p4info, compiled.device_config)
        self._config.p4info.CopyFrom(self._schema.p4info)
        self._make_ports(stack)
        self._start(folder / f"{name}.log", folder, stack)
        self._program(stack)
        self._before = self._read_counters()

    def run(self, batch: Batch) -> Outcome:
        """Sends frames into one port and returns all that came of them, the counters apart: a frame that leaves by
        no port may still be in an egress queue.

        Raises AssertionError when a fence does not come through; such a target is of no more use, and each later
        call says so at once.
        """
        assert self._broken is None, self._broken
        outcome = Outcome({number: [] for number in self.world.ports})
        port = batch.port
        for frame in batch.frames:
            self._send(port, frame)
        self._await_digest(port, outcome)
        for fence in self.world.fences:
            nonce = _NONCE.pack(next(self._nonces))
            self._send(fence.in_port, fence.frame + nonce)
            self._await_frame(fence, nonce, outcome)
        for number, end in self._ports.items():
            while (data := end.receive(wait=False)) is not None:
                outcome.frames[number].append(data)
        return outcome

    def risen(self) -> Counts:
        """By how many packets and bytes each direct counter rose since the last `settle`, zeros left out."""
        return {
            name: (now[0] - self._before[name][0], now[1] - self._before[name][1])
            for name, now in self._read_counters().items()
            if now != self._before[name]
        }

    def settle(self, risen: Counts) -> None:
        """What has risen so far has been compared."""
        for name, (packets, size) in risen.items():
            before = self._before[name]
            self._before[name] = before[0] + packets, before[1] + size

    @property
    def entries(self) -> int:
        """How many there are, const ones included."""
        return len(self._before)

    # The parts of a batch

    def _send(self, port: int, frame: bytes | PacketOut) -> None:
        if isinstance(frame, bytes):
            self._ports[port].socket.send(frame)
            return
        values = {"vni": frame.identifier, "vlan": frame.identifier, "_pad": 0}
        message = p4r.PacketOut(payload=frame.data)
        for item in self._packet_out.metadata:
            value = values[item.name] & ((1 << item.bitwidth) - 1)
            message.metadata.add(metadata_id=item.id, value=_canonical(value))
        self._sent.put(p4r.StreamMessageRequest(packet=message))

    def _await_digest(self, port: int, outcome: Outcome) -> None:
        mac = b"\x06\xfe" + struct.pack(">I", next(self._nonces))
        frame = self.world.digest_fence(port, mac)
        self._send(port, PacketOut(self.world.identifier, frame) if port == CPU_PORT else frame)
        while True:
            try:
                values = self._digests.get(timeout=WITHIN)
            except queue.Empty:
                raise self._missing(f"the digest behind the batch into port {port}") from None
            if int.from_bytes(mac, "big") in values:
                return
            if values not in outcome.digests:
                outcome.digests.append(values)

    def _await_frame(self, fence: Fence, nonce: bytes, outcome: Outcome) -> None:
        what = f"the frame behind the batch, from port {fence.in_port} out of port {fence.out_port}"
        while True:
            if fence.out_port == CPU_PORT:
                try:
                    packet = self._packets.get(timeout=WITHIN)
                except queue.Empty:
                    raise self._missing(what) from None
                if packet[1].endswith(nonce):
                    return
                outcome.packet_ins.append(packet)
            else:
                data = self._ports[fence.out_port].receive()
                if data is None:
                    raise self._missing(what)
                if data.endswith(nonce):
                    return
                outcome.frames[fence.out_port].append(data)

    def _missing(self, what: str) -> AssertionError:
        self._broken = (
            f"{self.kind}: {what}, did not come within {WITHIN:g} s\n{self._log.read_text()[-2000:]}"
        )
        return AssertionError(self._broken)

    def _read_counters(self) -> Counts:
        request = p4r.ReadRequest(device_id=1)
        for table in self._schema.tables:
            entry = request.entities.add().table_entry
            entry.table_id = table.id
            entry.counter_data.SetInParent()
        return {
            _name(entity.table_entry): (
                entity.table_entry.counter_data.packet_count,
                entity.table_entry.counter_data.byte_count,
            )
            for reply in self._stub.Read(request, timeout=WITHIN)
            for entity in reply.entities
        }

    # Setting up

    def _make_ports(self, stack: ExitStack) -> None:
        network.create_namespace(self.namespace)
        stack.callback(network.remove_namespace, self.namespace)
        with network.link(self.namespace) as link:
            for port in self.world.ports:
                here = network.End(f"s{port}", self.namespace)
                link.add_veth(here, network.End(f"t{port}", self.namespace), 1500)
                link.up(f"s{port}")
                link.up(f"t{port}")
        for port in self.world.ports:
            with inside(self.namespace):
                assert not offload.is_on(f"t{port}", offload.Feature.TX_CHECKSUM)
            self._ports[port] = _Port(self.namespace, f"t{port}")
            stack.callback(self._ports[port].socket.close)

    def _start(self, log: Path, folder: Path, stack: ExitStack) -> None:
        arguments = ["--device-id", "1", "--no-p4"]
        for port in self.world.ports:
            arguments += ["-i", f"{port}@s{port}"]
        arguments += ["--", "--grpc-server-addr", self._address, "--cpu-port", str(CPU_PORT)]
        if self.kind == "bmv2":
            command = bmv2.command(self.namespace, folder, arguments)
        else:
            command = [str(Path(sys.executable).with_name("softswitch")), *arguments]
        output = stack.enter_context(log.open("wb"))
        self._process = subprocess.Popen(
            command_in(self.namespace, command), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        stack.callback(self._end)
        self._log = log

    def _end(self) -> None:
        """As it is meant to: what softswitch has in the kernel would outlive its being killed."""
        self._process.terminate()
        try:
            self._process.wait(WITHIN)
        finally:
            self._process.kill()
            self._process.wait()

    def _program(self, stack: ExitStack) -> None:
        options = (("grpc.max_receive_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1))
        channel = stack.enter_context(grpc.insecure_channel(self._address, options=options))
        self._await_ready(channel)
        self._stub: Any = p4r_grpc.P4RuntimeStub(channel)
        stream = self._stub.StreamChannel(iter(self._sent.get, None))
        stack.callback(self._sent.put, None)
        threading.Thread(target=self._listen, args=(stream,), daemon=True).start()
        arbitration = p4r.MasterArbitrationUpdate(device_id=1, election_id=p4r.Uint128(low=1))
        self._sent.put(p4r.StreamMessageRequest(arbitration=arbitration))
        assert self._primary.wait(WITHIN)
        self._stub.SetForwardingPipelineConfig(
            p4r.SetForwardingPipelineConfigRequest(
                device_id=1,
                election_id=p4r.Uint128(low=1),
                action=p4r.SetForwardingPipelineConfigRequest.VERIFY_AND_COMMIT,
                config=self._config,
            ),
            timeout=60,
        )
        updates = [
            update.encode_update(self._schema)
            for update in encode_all(Update(Operation.INSERT, entry) for entry in self.world.entries)
        ]
        (digest,) = self._schema.digests
        # Without acknowledgements, which PI loses when they come fast (docs/bmv2.md). bmv2 still leaves out what it
        # told a moment ago: each digest of a batch counts once.
        listening = fy.P4DigestEntry(digest.alias, max_list_size=1, max_timeout_ns=0, ack_timeout_ns=0)
        updates.append((+listening).encode_update(self._schema))
        self._packet_out = next(
            item
            for item in self._schema.p4info.controller_packet_metadata
            if item.preamble.name == "packet_out"
        )
        self._stub.Write(
            p4r.WriteRequest(device_id=1, election_id=p4r.Uint128(low=1), updates=updates), timeout=WITHIN
        )

    def _await_ready(self, channel: grpc.Channel) -> None:
        ready, deadline = grpc.channel_ready_future(channel), time.monotonic() + 60
        while True:
            try:
                ready.result(timeout=0.1)
            except grpc.FutureTimeoutError:
                assert self._process.poll() is None, f"{self.kind} ended:\n{self._log.read_text()[-2000:]}"
                assert time.monotonic() < deadline, f"{self.kind} does not answer on {self._address}"
            else:
                return

    def _listen(self, stream: Any) -> None:
        try:
            for message in stream:
                match message.WhichOneof("update"):
                    case "arbitration":
                        self._primary.set()
                    case "packet":
                        metadata = tuple(
                            (item.metadata_id, int.from_bytes(item.value, "big"))
                            for item in sorted(message.packet.metadata, key=lambda item: item.metadata_id)
                        )
                        self._packets.put((metadata, message.packet.payload))
                    case "digest":
                        for data in message.digest.data:
                            members = getattr(data, "struct").members  # noqa: B009 - a keyword-like name
                            self._digests.put(
                                tuple(int.from_bytes(member.bitstring, "big") for member in members)
                            )
        except grpc.RpcError:
            return  # the channel was closed, at the end of the test


def _name(entry: p4r.TableEntry) -> str:
    match = sorted(
        (item.field_id, item.exact.value.hex(), item.ternary.value.hex(), item.ternary.mask.hex())
        for item in entry.match
    )
    return f"table {entry.table_id} {match}"


def _canonical(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")
