# SPDX-License-Identifier: Apache-2.0
"""Settings of gRPC for the channel, and its status codes turned into causes a person can act on."""

from typing import Final

import grpc
from google.protobuf.message import DecodeError

from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel import tls
from hvchannel_daemons.limits import MESSAGE_BYTES
from hvchannel_daemons.reasons import Reason

Options = list[tuple[str, int]]
Call = grpc.aio.StreamStreamCall[pb.HostMessage, pb.GuestMessage]

_SESSION: Final = "/hvchannel.channel.v1.Channel/Session"
_LOST: Final = ("Connection reset", "Socket closed", "recvmsg", "GOAWAY")

# Heartbeats of the protocol notice a dead peer; gRPC's keepalive covers the time before the session begins.
_KEEPALIVE_MS: Final = 5000
# Of one connection. Without it gRPC reads as fast as the peer sends, whether it gets round to parsing it or not: a
# flood of small frames takes hundreds of MiB.
_READ_BUFFER_BYTES: Final = 256 * 1024

CLIENT: Final[Options] = [
    ("grpc.enable_http_proxy", 0),  # an http_proxy in the environment must never see the channel
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection, not a dead one of the pool
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 3000),  # which is also how long one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS),
    ("grpc.experimental.tcp_max_read_buffer_size", _READ_BUFFER_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_metadata_size", 8192),
]

SERVER: Final[Options] = [
    ("grpc.so_reuseport", 0),  # a second guestd on the port is an error, not a silent half of the connections
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.max_concurrent_streams", 4),
    ("grpc.experimental.tcp_max_read_buffer_size", _READ_BUFFER_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_metadata_size", 8192),
]

# the unix socket of the local API: a report of 1 MiB must fit
LOCAL: Final[Options] = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
]


def ended(message: object) -> bool:
    """Whether a read found the end of the stream (the stubs do not know that it can)."""
    return message is grpc.aio.EOF


def parsed(data: bytes) -> pb.GuestMessage:
    """What the guest sent; a message of no kind when it is none of the protocol's. (gRPC would log a traceback.)"""
    try:
        return pb.GuestMessage.FromString(data)
    except DecodeError:
        return pb.GuestMessage()


def session(channel: grpc.aio.Channel) -> Call:
    """The hypervisor's end of a session."""
    begin = channel.stream_stream(
        _SESSION,
        request_serializer=pb.HostMessage.SerializeToString,
        response_deserializer=parsed,
    )
    return begin()  # type: ignore[return-value]  # the stubs know no types of messages here


def printable(text: str, length: int) -> str:
    """What a peer said, as one line for a log or a terminal of at most `length` characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:length])


def cause(code: grpc.StatusCode | None, details: str | None, address: str) -> tuple[Reason, str]:
    """Why no connection to `address` came about, or why it broke: our code, and one line in words rather than
    gRPC's codes."""
    text = details or ""
    if (refused := tls.trouble(text, address)) is not None:
        return Reason.TLS, refused
    if "Connection refused" in text:
        return Reason.REFUSED, f"connection refused: nothing listens on {address}"
    if "No route to host" in text or "Host is unreachable" in text:
        return Reason.NO_ARP, f"no route to host: nobody answers ARP for {address}"
    if "Network is unreachable" in text:
        return Reason.NO_ROUTE, f"network unreachable: this host has no route to {address}"
    if any(sign in text for sign in _LOST):
        return Reason.LOST, f"connection to {address} was lost"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED or "timed out" in text:
        return Reason.TIMEOUT, f"no answer from {address} in time"
    return broken(code, text, address)


def broken(code: grpc.StatusCode | None, details: str | None, address: str) -> tuple[Reason, str]:
    """Why a call to `address` ended that had been connected. The words may be the guest's own: they are not taken
    for more than that."""
    text = details or ""
    if code is grpc.StatusCode.UNAVAILABLE and any(sign in text for sign in _LOST):
        return Reason.LOST, f"connection to {address} was lost"
    if text == "Internal error from Core":  # gRPC's words for a message to a peer that has ended the call
        return Reason.LOST, f"{address} ended the session while it was being sent to"
    said = printable(text, 200) or "no details"
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Reason.LIMIT_EXCEEDED, f"{address}: the guest sent too much: {said}"
    if "Failed parsing HTTP/2" in text:
        why = said.partition("Failed parsing HTTP/2")[2].strip(" ()") or said
        return Reason.PROTOCOL_ERROR, f"{address}: what answers does not speak HTTP/2 ({why})"
    if "RST_STREAM" in text:
        return Reason.LOST, f"{address}: the guest reset the session ({said})"
    return Reason.UNKNOWN, f"{address}: {code.name if code else 'no status'}: {said}"
