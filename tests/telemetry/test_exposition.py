# SPDX-License-Identifier: Apache-2.0
"""What an exposition answers, and what it takes from whoever may reach it."""

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hvchannel_telemetry import exposition
from hvchannel_telemetry.exposition import MetricsAddressError, serving
from hvchannel_telemetry.metrics_address import MetricsAddress, parse
from hvchannel_telemetry.scrape import scrape
from hypothesis import HealthCheck, given, settings, strategies
from prometheus_client import CollectorRegistry, Counter


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    registry = CollectorRegistry()
    Counter("things", "Things.", registry=registry).inc(3)
    async with serving(MetricsAddress(path=tmp_path / "m.sock"), registry):
        yield tmp_path / "m.sock"


async def ask(path: Path, request: bytes, *, end: bool = False) -> bytes:
    """What is answered until the connection ends. `end`: nothing more is to come."""
    reader, writer = await asyncio.open_unix_connection(path)
    # who is refused early may find the connection reset: that is an answer too
    with contextlib.suppress(ConnectionError):
        writer.write(request)
        if end:
            writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer
    return b""


async def test_a_scrape_has_the_counter_and_the_process(path: Path) -> None:
    text = await asyncio.to_thread(scrape, path)
    assert "\nthings_total 3.0\n" in text
    assert "\nprocess_open_fds " in text
    assert "_created" not in text


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /metrics HTTP/1.0", "200 OK"),
        ("GET /metrics?name[]=things HTTP/1.1", "200 OK"),
        ("HEAD /metrics HTTP/1.1", "200 OK"),
        ("POST /metrics HTTP/1.1", "405 Method Not Allowed"),
        ("GET / HTTP/1.1", "404 Not Found"),
        ("GET /metrics", "400 Bad Request"),
        ("GET /metrics SPDY/3", "400 Bad Request"),
    ],
)
async def test_only_get_of_metrics_is_answered_with_them(path: Path, request_line: str, status: str) -> None:
    head, _, body = (await ask(path, f"{request_line}\r\nHost: x\r\n\r\n".encode())).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status}\r\n".encode())
    assert (b"things_total" in body) == (status == "200 OK" and not request_line.startswith("HEAD"))


async def test_a_request_that_is_too_long_is_refused(path: Path) -> None:
    answer = await ask(path, b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n")
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=strategies.binary(max_size=200))
async def test_rubbish_is_answered_or_cut_off_and_harms_nobody(path: Path, request: bytes) -> None:
    answer = await ask(path, request, end=True)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert b"things_total" in await ask(path, b"GET /metrics HTTP/1.1\r\n\r\n")


async def test_who_says_nothing_is_cut_off_and_who_comes_meanwhile_is_answered(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition, "SECONDS", 1.0)
    busy = b"HTTP/1.1 200"
    while busy.startswith(b"HTTP/1.1 200"):  # until all places are taken, by those who say nothing
        silent = [await asyncio.open_unix_connection(path) for _ in range(exposition.AT_ONCE)]
        busy = await ask(path, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert busy == b"" or busy.startswith(b"HTTP/1.1 503 ")
    for reader, writer in silent:
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
    assert b"things_total" in await ask(path, b"GET /metrics HTTP/1.1\r\n\r\n")


async def test_the_socket_is_its_owners_alone_and_gone_afterwards(tmp_path: Path) -> None:
    where = tmp_path / "m.sock"
    async with serving(MetricsAddress(path=where), CollectorRegistry()):
        assert stat.S_IMODE(where.stat().st_mode) == 0o600
        with pytest.raises(MetricsAddressError, match=r"--metrics: socket .* is served by another process"):
            async with serving(MetricsAddress(path=where), CollectorRegistry()):
                pass
    assert not where.exists()


async def test_a_free_port_on_loopback(tmp_path: Path) -> None:
    async with serving(parse("127.0.0.1:0"), CollectorRegistry()) as where:
        assert where is not None
        reader, writer = await asyncio.open_connection(where.host, where.port)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert b"process_open_fds" in await reader.read()
        writer.close()
        with pytest.raises(MetricsAddressError, match=r"cannot listen on 127\.0\.0\.1:"):
            async with serving(where, CollectorRegistry()):
                pass


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "unix:",
            "--metrics: 'unix:' names no socket (valid: unix:PATH or HOST:PORT, such as 127.0.0.1:9464)",
        ),
        ("unix:/", "--metrics: 'unix:/' names no socket"),
        ("9464", "--metrics: '9464' is no address (valid: "),
        ("example.org:9464", "--metrics: 'example.org:9464' is no address"),
        ("127.0.0.1:http", "--metrics: '127.0.0.1:http' has no port from 0 to 65535"),
        ("127.0.0.1:65536", "--metrics: '127.0.0.1:65536' has no port"),
        ("0.0.0.0:9464", "--metrics: others than this machine reach 0.0.0.0, "),
        ("[::]:9464", "--metrics: others than this machine reach ::, "),
        ("192.0.2.1:9464", "--metrics: others than this machine reach 192.0.2.1, "),
    ],
)
def test_an_address_that_is_not_valid_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_others_may_be_let_in_on_purpose() -> None:
    assert parse("192.0.2.1:9464", allow_any=True) == MetricsAddress(host="192.0.2.1", port=9464)
    assert str(parse("[::1]:9464")) == "[::1]:9464"
