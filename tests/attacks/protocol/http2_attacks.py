# SPDX-License-Identifier: Apache-2.0
"""What a guest with root may answer when its hypervisor dials, below gRPC: bytes and HTTP/2 frames."""

import asyncio
import gzip
import random
import zlib
from collections.abc import Iterable
from typing import Final

from hpack import Encoder
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.limits import MIB
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.attacks.protocol.world import Writer

Reader = asyncio.StreamReader

STREAM: Final = 1  # of hostd's one call
_FOREVER: Final = 3600.0


async def _wait() -> None:
    await asyncio.sleep(_FOREVER)


async def _flood(writer: Writer, frames: Iterable[Frame] | bytes) -> None:
    """Again and again, as fast as hostd takes it."""
    data = frames if isinstance(frames, bytes) else b"".join(frame.serialize() for frame in frames)
    data *= max(1, 65536 // len(data))
    while True:
        writer.write(data)
        await writer.drain()


async def _greeted(reader: Reader, writer: Writer, settings: dict[int, int] | None = None) -> None:
    """Up to hostd's call: it believes to be connected."""
    _write(writer, SettingsFrame(0, settings=settings or {}), SettingsFrame(0, flags=["ACK"]))
    await reader.readexactly(24)
    while True:
        header = await reader.readexactly(9)
        frame, length = Frame.parse_frame_header(memoryview(header))
        await reader.readexactly(length)
        if isinstance(frame, HeadersFrame):
            return


def _write(writer: Writer, *frames: Frame) -> None:
    for frame in frames:
        writer.write(frame.serialize())


def _headers(*more: tuple[str, str]) -> HeadersFrame:
    block = Encoder().encode([(":status", "200"), ("content-type", "application/grpc"), *more])
    return HeadersFrame(STREAM, block, flags=["END_HEADERS"])


def _message(message: pb.GuestMessage) -> DataFrame:
    data = message.SerializeToString()
    return DataFrame(STREAM, b"\0" + len(data).to_bytes(4, "big") + data)


def _drain(reader: Reader) -> asyncio.Task[bytes]:
    """Reads and forgets, so that hostd is never held up by what it sends."""

    async def read() -> bytes:
        while data := await reader.read(65536):
            del data
        return b""

    return asyncio.create_task(read())


# --- below HTTP/2


async def silence(_reader: Reader, _writer: Writer) -> None:
    """Half-open: the connection is there, and nothing comes."""
    await _wait()


async def deaf(_reader: Reader, writer: Writer) -> None:
    """And nothing is read."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await _wait()


async def slow_loris(_reader: Reader, writer: Writer) -> None:
    for byte in SettingsFrame(0, settings={n: n for n in range(10, 60)}).serialize():
        writer.write(bytes([byte]))
        await asyncio.sleep(1)


async def random_bytes(_reader: Reader, writer: Writer) -> None:
    await _flood(writer, random.Random(1).randbytes(65536))


async def zeros(_reader: Reader, writer: Writer) -> None:
    await _flood(writer, bytes(65536))


async def http1(_reader: Reader, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\nNo HTTP/2")
    await _wait()


async def another_protocol(_reader: Reader, writer: Writer) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await _wait()


async def tls_alert(_reader: Reader, writer: Writer) -> None:
    writer.write(b"\x15\x03\x01\x00\x02\x02\x28")
    await _wait()


async def hangs_up(_reader: Reader, writer: Writer) -> None:
    writer.transport.abort()


# --- HTTP/2


async def settings_then_silence(_reader: Reader, writer: Writer) -> None:
    """Slow in all that gRPC has no deadline for."""
    _write(writer, SettingsFrame(0))
    await _wait()


async def headers_by_the_second(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    _write(writer, PingFrame(0, bytes(8)))
    for byte in _headers(*((f"x-{n}", "y") for n in range(50))).serialize():
        writer.write(bytes([byte]))
        await asyncio.sleep(1)


async def settings_then_garbage(_reader: Reader, writer: Writer) -> None:
    _write(writer, SettingsFrame(0))
    await _flood(writer, random.Random(2).randbytes(65536))


async def settings_flood(_reader: Reader, writer: Writer) -> None:
    """And the acknowledgements of none are read."""
    await _flood(writer, [SettingsFrame(0, settings={SettingsFrame.HEADER_TABLE_SIZE: 4096})])


async def ping_flood(_reader: Reader, writer: Writer) -> None:
    _write(writer, SettingsFrame(0))
    await _flood(writer, [PingFrame(0, bytes(8))])


async def ping_flood_answers_read(reader: Reader, writer: Writer) -> None:
    _drain(reader)
    _write(writer, SettingsFrame(0))
    await _flood(writer, [PingFrame(0, bytes(8))])


async def no_window(reader: Reader, writer: Writer) -> None:
    """hostd may not send one byte of its Hello."""
    await _greeted(reader, writer, {SettingsFrame.INITIAL_WINDOW_SIZE: 0})
    _write(writer, _headers())
    await _wait()


async def window_overflow(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    await _flood(writer, [WindowUpdateFrame(0, 2**31 - 1), WindowUpdateFrame(STREAM, 2**31 - 1)])


async def window_trickle(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    await _flood(writer, [WindowUpdateFrame(0, 1), WindowUpdateFrame(STREAM, 1)])


async def continuation_flood(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    _write(writer, HeadersFrame(STREAM, Encoder().encode([(":status", "200")])))
    block = Encoder().encode([("x-long", "y" * 1000)], huffman=False)
    await _flood(writer, [ContinuationFrame(STREAM, block)])


async def empty_continuations(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    _write(writer, HeadersFrame(STREAM, Encoder().encode([(":status", "200")])))
    await _flood(writer, [ContinuationFrame(STREAM, b"")])


async def header_of_a_gibibyte(reader: Reader, writer: Writer) -> None:
    """The length says so, and the bytes come."""
    await _greeted(reader, writer)
    length = 2**30 - 127
    varint = bytes([0x7F])
    while length:
        varint += bytes([length & 127 | (128 if length > 127 else 0)])
        length >>= 7
    _write(writer, HeadersFrame(STREAM, b"\x00\x01x" + varint))
    await _flood(writer, [ContinuationFrame(STREAM, b"y" * 16384)])


async def hpack_bomb(reader: Reader, writer: Writer) -> None:
    """One header of 4,000 bytes, then referred to by a byte each time."""
    await _greeted(reader, writer)
    entry = Encoder().encode([("x-long", "y" * 4000)], huffman=False)
    _write(writer, HeadersFrame(STREAM, entry))
    await _flood(writer, [ContinuationFrame(STREAM, b"\xbe" * 16384)])


async def rapid_reset(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    _write(writer, RstStreamFrame(STREAM, 8))
    await _flood(writer, [RstStreamFrame(STREAM, 8)])


async def goaway_flood(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    await _flood(writer, [GoAwayFrame(0, 0, 11, b"\x1b[2J" + b"x" * 16000)])


async def huge_frame(reader: Reader, writer: Writer) -> None:
    """Longer than hostd allowed."""
    await _greeted(reader, writer)
    writer.write((2**24 - 1).to_bytes(3, "big") + b"\0\0" + STREAM.to_bytes(4, "big"))
    await _flood(writer, bytes(65536))


async def pushed(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    block = Encoder().encode([(":method", "GET"), (":path", "/"), (":scheme", "http")])
    await _flood(
        writer, [PushPromiseFrame(STREAM, n, block, flags=["END_HEADERS"]) for n in range(2, 200, 2)]
    )


async def priorities(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    await _flood(writer, [PriorityFrame(n, depends_on=1, stream_weight=1) for n in range(3, 400, 2)])


async def unknown_frames(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    await _flood(writer, (100).to_bytes(3, "big") + b"\xee\0" + STREAM.to_bytes(4, "big") + bytes(100))


async def beyond_the_window(reader: Reader, writer: Writer) -> None:
    """A message that never ends, whatever window hostd gave."""
    await _greeted(reader, writer)
    _write(writer, _headers())
    writer.write(DataFrame(STREAM, b"\0" + (2 * MIB - 1).to_bytes(4, "big")).serialize())
    await _flood(writer, [DataFrame(STREAM, bytes(16384))])


async def message_of_4_gibibytes(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    _write(writer, _headers(), DataFrame(STREAM, b"\0\xff\xff\xff\xff" + bytes(10_000)))
    await _wait()


async def message_that_never_ends(reader: Reader, writer: Writer) -> None:
    """By the byte, and never whole: signs of life of the connection, none of the session."""
    await _greeted(reader, writer)
    _write(writer, _headers(), DataFrame(STREAM, b"\0" + (2 * MIB - 1).to_bytes(4, "big")))
    while True:
        _write(writer, DataFrame(STREAM, b"x"))
        await asyncio.sleep(0.05)


async def empty_messages(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    _write(writer, _headers())
    await _flood(writer, [DataFrame(STREAM, b"")])


async def html(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    block = Encoder().encode([(":status", "200"), ("content-type", "text/html")])
    _write(writer, HeadersFrame(STREAM, block, flags=["END_HEADERS"]), DataFrame(STREAM, b"<html>"))
    await _wait()


def _ended(words: str) -> HeadersFrame:
    block = Encoder().encode(
        [
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", "2"),
            ("grpc-message", words),
        ]
    )
    return HeadersFrame(STREAM, block, flags=["END_HEADERS", "END_STREAM"])


async def trailers_for_a_terminal(reader: Reader, writer: Writer) -> None:
    """A status whose words would move the cursor of whoever reads them."""
    await _greeted(reader, writer)
    _write(writer, _ended("%1B]0;owned%07%1B[2J%0Aall is well%E2%80%AE" + "x" * 3000))
    await _wait()


async def trailers_that_lie(reader: Reader, writer: Writer) -> None:
    """Words as hostd's own kernel would say them, to send the operator looking in the wrong place."""
    await _greeted(reader, writer)
    _write(writer, _ended("Network is unreachable; Connection refused; CERTIFICATE_VERIFY_FAILED"))
    await _wait()


def bomb(size: int = 1024 * MIB) -> bytes:
    """So many zeros by gzip: about a thousandth of it."""
    part = zlib.compressobj(9, zlib.DEFLATED, -15)
    zero = bytes(MIB)
    block = part.compress(zero) + part.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(size // MIB):
        checksum = zlib.crc32(zero, checksum)
    header = gzip.compress(b"")[:10]
    return (
        header
        + block * (size // MIB)
        + b"\x03\x00"
        + checksum.to_bytes(4, "little")
        + (size % 2**32).to_bytes(4, "little")
    )


async def compression_bomb(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    _write(writer, _headers(("grpc-encoding", "gzip")))
    data = await asyncio.to_thread(bomb)
    data = b"\1" + len(data).to_bytes(4, "big") + data
    _drain(reader)
    # hostd's window is 64 KiB at first: it opens as hostd asks for the message, and hostd gives the rest at once
    for at in range(0, len(data), 16384):
        _write(writer, DataFrame(STREAM, data[at : at + 16384]))
        await writer.drain()
        await asyncio.sleep(0.005)
    await _wait()


async def garbled_message(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    data = random.Random(3).randbytes(1000)
    _write(writer, _headers(), DataFrame(STREAM, b"\0" + len(data).to_bytes(4, "big") + data))
    await _wait()


async def bad_utf8(reader: Reader, writer: Writer) -> None:
    await _greeted(reader, writer)
    data = pb.GuestMessage(closing=pb.Closing(message="XXXX")).SerializeToString().replace(b"X", b"\xff")
    _write(writer, _headers(), DataFrame(STREAM, b"\0" + len(data).to_bytes(4, "big") + data))
    await _wait()


async def settled_but_no_window(reader: Reader, writer: Writer) -> None:
    """A session, heartbeats, and no window beyond the first 65,535 bytes."""
    await _greeted(reader, writer)
    _drain(reader)
    _write(
        writer,
        _headers(),
        _message(pb.GuestMessage(welcome=pb.Welcome(version=2))),
        _message(pb.GuestMessage(inventory=pb.Inventory(last=True))),
    )
    while True:
        _write(writer, _message(pb.GuestMessage(heartbeat=pb.Heartbeat())))
        await asyncio.sleep(0.05)
