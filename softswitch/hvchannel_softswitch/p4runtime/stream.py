# SPDX-License-Identifier: Apache-2.0
"""The StreamChannel: one bidirectional stream per client, with a queue of its own towards it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TypeAlias

import structlog
from finsy.proto import p4r

from hvchannel_softswitch.p4runtime.arbitration import Arbitration, Client
from hvchannel_softswitch.p4runtime.counts import Counts
from hvchannel_softswitch.p4runtime.device import Device
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, invalid
from hvchannel_softswitch.p4runtime.packet_io import packet_in_message, packet_out_frame
from hvchannel_softswitch.p4runtime.pipeline import Pipeline

QUEUE_LIMIT = 1024
"""Messages waiting for a slow client; packet-ins and digests beyond that are dropped, as the spec allows."""

_log = structlog.get_logger(__name__)

_Queue: TypeAlias = "asyncio.Queue[p4r.StreamMessageResponse | P4RuntimeError | None]"
"""What a client is to be sent; an error or None ends its stream."""


class Streams:
    """All clients' streams, and what the data path sends to their primaries."""

    def __init__(
        self, arbitration: Arbitration, device: Device, running: Callable[[], Pipeline | None]
    ) -> None:
        self._arbitration = arbitration
        self._device = device
        self._running = running
        self._queues: dict[Client, _Queue] = {}
        self.counts = Counts()
        self.dropped = 0
        """Packet-ins and digest lists dropped for want of a primary or of room in its queue."""

    async def serve(
        self, requests: AsyncIterator[p4r.StreamMessageRequest]
    ) -> AsyncGenerator[p4r.StreamMessageResponse, None]:
        """One client's stream from its first message to its end: takes its requests, yields what it is sent.

        Raises P4RuntimeError with the code to end the stream with.
        """
        queue: _Queue = asyncio.Queue()
        client = Client(queue.put_nowait)
        self._queues[client] = queue
        reader = asyncio.create_task(self._read(client, requests, queue))
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, P4RuntimeError):
                    raise item
                yield item
        finally:
            reader.cancel()
            del self._queues[client]
            self._arbitration.leave(client)

    @property
    def open(self) -> int:
        """Clients' streams."""
        return len(self._queues)

    def on_cpu_frame(self, frame: bytes) -> None:
        """A frame that the program sent to the CPU port."""
        self.counts.packet_ins += 1
        pipeline = self._running()
        packet = packet_in_message(pipeline.program.packet_in, frame) if pipeline is not None else None
        if packet is None:
            self.dropped += 1
            return
        self.send_to_primaries(p4r.StreamMessageResponse(packet=packet))

    def send_digests(self, digests: p4r.DigestList) -> bool:
        """False when no primary takes the list."""
        return self.send_to_primaries(p4r.StreamMessageResponse(digest=digests))

    def send_to_primaries(self, message: p4r.StreamMessageResponse) -> bool:
        """Best effort: False when there is no primary with room in its queue."""
        is_sent = False
        for client in self._arbitration.primaries():
            if self._queues[client].qsize() < QUEUE_LIMIT:
                client.send(message)
                is_sent = True
        if not is_sent:
            self.dropped += 1
        return is_sent

    async def _read(
        self, client: Client, requests: AsyncIterator[p4r.StreamMessageRequest], queue: _Queue
    ) -> None:
        try:
            async for request in requests:
                self._handle(client, request)
        except P4RuntimeError as error:
            queue.put_nowait(error)
        except Exception:
            _log.exception("defect_ends_stream")
            queue.put_nowait(P4RuntimeError(Code.INTERNAL, "internal error, see the switch's log"))
        finally:
            queue.put_nowait(None)

    def _handle(self, client: Client, request: p4r.StreamMessageRequest) -> None:
        kind = request.WhichOneof("update")
        if kind == "arbitration":
            self._arbitration.arbitrate(client, request.arbitration)
            _log.info(
                "arbitration",
                role=client.role,
                election_id=client.election_id,
                primary=self._arbitration.is_primary(client),
            )
            return
        try:
            if kind == "packet":
                self._packet_out(client, request.packet)
            elif kind == "digest_ack":
                self._digest_ack(client, request.digest_ack)
            else:
                raise P4RuntimeError(
                    Code.UNIMPLEMENTED,
                    f"stream message {kind or '(empty)'!r} is not supported (valid: arbitration, packet, "
                    "digest_ack)",
                )
        except P4RuntimeError as error:
            _log.warning("stream_error", kind=kind, code=error.code.name, reason=error.message)
            client.send(p4r.StreamMessageResponse(error=_stream_error(request, error)))

    def _check_primary(self, client: Client, what: str) -> Pipeline:
        if not self._arbitration.is_primary(client):
            raise P4RuntimeError(Code.PERMISSION_DENIED, f"not primary: only the primary may send a {what}")
        pipeline = self._running()
        if pipeline is None:
            raise P4RuntimeError(
                Code.FAILED_PRECONDITION, "No forwarding pipeline config set for this device"
            )
        return pipeline

    def _packet_out(self, client: Client, packet: p4r.PacketOut) -> None:
        pipeline = self._check_primary(client, "packet-out")
        if self._device.cpu_port is None:
            raise P4RuntimeError(
                Code.FAILED_PRECONDITION, "this switch has no CPU port (start it with --cpu-port N)"
            )
        self._device.inject(packet_out_frame(pipeline.program.packet_out, packet))
        self.counts.packet_outs += 1

    def _digest_ack(self, client: Client, ack: p4r.DigestListAck) -> None:
        pipeline = self._check_primary(client, "digest acknowledgement")
        digest = pipeline.program.digests.get(ack.digest_id)
        if digest is None:
            raise invalid(f"digest ID {ack.digest_id} is not in the P4Info")
        pipeline.digests[digest.full_name].ack(ack.list_id)


def _stream_error(request: p4r.StreamMessageRequest, error: P4RuntimeError) -> p4r.StreamError:
    message = p4r.StreamError(canonical_code=error.code.value, message=error.message)
    if request.HasField("packet"):
        message.packet_out.packet_out.CopyFrom(request.packet)
    elif request.HasField("digest_ack"):
        message.digest_list_ack.digest_list_ack.CopyFrom(request.digest_ack)
    elif request.HasField("other"):
        message.other.other.CopyFrom(request.other)
    return message
