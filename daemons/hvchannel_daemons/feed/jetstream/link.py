# SPDX-License-Identifier: Apache-2.0
"""One connection to a NATS cluster: comes back by itself, says so, and tells failures that pass from others."""

import asyncio
import contextlib
import random
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import ParseResult

import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.aio.client import Server as PoolServer
from nats.js import JetStreamContext

from hvchannel_daemons.feed.interface import FeedAwayError, FeedError
from hvchannel_daemons.feed.location import Access, NatsUrl, secret_lines

T = TypeVar("T")

REQUEST_SECONDS: Final = 3.0  # one request; more may be tried within `CALL_SECONDS`
CALL_SECONDS: Final = 15.0  # a cluster elects a new leader in a few seconds
_PING_SECONDS: Final = 5  # two unanswered pings: the server is taken to be gone
_LONGEST_SECONDS: Final = 1.0
_WRONG_SEQUENCE: Final = 10071
_CUT_OFF: Final = 10  # tries at a server that ends the connection before it has told why
_LEAST_PAYLOAD: Final = 512 * 1024  # a piece of 256 KiB and what is said of it, with room

log = structlog.get_logger()


class WrongSequenceError(Exception):
    """Compare-and-set failed: another wrote the subject meanwhile."""


class MissingError(Exception):
    """There is no such message."""


class _GaveUpError(Exception):
    """Every server was tried for the first connection."""


class Link:
    """Use `open`. `epoch` grows with every reconnection."""

    def __init__(self, url: NatsUrl) -> None:
        self.url = url
        self.epoch = 0
        self.patient = False  # hostd waits for the server however long it is away; others are told
        self.up = asyncio.Event()
        self.nc = Client()
        self.js: JetStreamContext = self.nc.jetstream(timeout=REQUEST_SECONDS)
        self.on_lost: list[Callable[[], None]] = []
        self.on_back: list[Callable[[], None]] = []
        self._losing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last_error = ""
        self._failures = 0
        self._opened = False

    @classmethod
    async def open(cls, url: NatsUrl, access: Access) -> "Link":
        """Raises FeedError; FeedAwayError when the servers cannot be reached (now)."""
        link = cls(url)
        options: dict[str, Any] = {}
        if access.credentials is not None:
            options |= _credentials(access.credentials)
        if url.tls:
            options["tls"] = _tls(access)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await link._connect(options)
        except (_GaveUpError, TimeoutError, OSError, nats.errors.Error) as error:
            await link.close()
            raise FeedAwayError(f"feed {url}: {link._last_error or _told(error)}") from None
        if link.nc.max_payload < _LEAST_PAYLOAD:
            await link.close()
            raise FeedError(
                f"feed {url}: its max_payload is {link.nc.max_payload} bytes (needed: {_LEAST_PAYLOAD} or more)"
            )
        link._last_error = ""
        link._opened = True
        link.up.set()
        return link

    @property
    def away(self) -> str:
        """Why there is no connection now; empty when there is one."""
        return "" if self.up.is_set() else self._last_error or "the connection was lost"

    async def call(self, request: Callable[[], Awaitable[T]]) -> T:
        """The answer; a failure that passes (no connection, no leader) is tried again: for ever when patient, else for
        CALL_SECONDS. `request` may therefore be carried out twice.

        Raises FeedAwayError, FeedError, WrongSequenceError, MissingError.
        """
        loop = asyncio.get_running_loop()
        began, step = loop.time(), 0.02
        while True:
            try:
                return await self.attempt(request)
            except Exception as error:
                reason = self.passing(error)
            if not self.patient and loop.time() - began > CALL_SECONDS:
                raise FeedAwayError(f"feed {self.url}: {self._last_error or reason}")
            step = min(2 * step, _LONGEST_SECONDS)
            await self.pause(step)

    async def attempt(self, request: Callable[[], Awaitable[T]]) -> T:
        """One try, which fails as soon as the connection is lost rather than when the answer is overdue. Raises what
        `passing` takes."""
        trying = asyncio.ensure_future(request())
        try:
            await asyncio.wait(
                (trying, self._losing), timeout=2 * REQUEST_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if trying.done():
                return trying.result()
            raise ConnectionError("the connection was lost") if self._losing.done() else TimeoutError
        finally:
            if not trying.done():
                trying.cancel()
                trying.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def pause(self, seconds: float = 0.1) -> None:
        """Before another try: half to all of `seconds`, and until the connection is back; when not patient that may
        not be yet. Raises FeedError when this end closed it."""
        if self.nc.is_closed:
            raise FeedError(f"feed {self.url}: closed")
        await asyncio.sleep(random.uniform(seconds / 2, seconds))
        if self.patient:
            await self.up.wait()
        elif not self.up.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REQUEST_SECONDS):
                    await self.up.wait()

    async def publish(
        self, subject: str, data: bytes, headers: dict[str, str] | None = None, *, last: int | None = None
    ) -> int:
        """Stores a message and returns its sequence; `last`: only if that is the subject's last sequence (0: none).

        One try. Raises what `call` takes for its requests.
        """
        headers = dict(headers or {})
        if last is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(last)
        # nats-py tells "no headers" from "empty headers", and the server refuses the latter
        ack = await self.js.publish(subject, data, headers=headers or None)
        return int(ack.seq)

    async def close(self) -> None:
        self.up.clear()
        # a task, since nats-py swallows cancellation while it closes
        closing = asyncio.create_task(self.nc.close())
        await asyncio.wait((closing,), timeout=REQUEST_SECONDS)
        if closing.done() and not closing.cancelled():
            closing.exception()

    def passing(self, error: Exception) -> str:
        """What to say of a failure that passes. Raises what stands for one that does not."""
        match error:
            case nats.js.errors.APIError(err_code=code) if code == _WRONG_SEQUENCE:
                raise WrongSequenceError from error
            case nats.js.errors.ServiceUnavailableError() | nats.js.errors.NoStreamResponseError():
                return "JetStream does not answer (is it enabled? has the cluster a majority?)"
            case nats.js.errors.ServerError():
                return _told(error)
            case nats.js.errors.NotFoundError():
                raise MissingError(error.description) from error
            case nats.js.errors.APIError():
                raise FeedError(f"feed {self.url}: {error.description}") from error
            case nats.errors.MaxPayloadError():
                raise FeedError(f"feed {self.url}: {_told(error)}") from error
            case nats.errors.Error() | OSError() | TimeoutError():
                return _told(error)
            case _:
                raise error

    async def _connect(self, options: dict[str, Any]) -> None:
        await self.nc.connect(
            servers=list(self.url.servers),
            name="hvchannel",
            error_cb=self._failed,
            disconnected_cb=self._lost,
            reconnected_cb=self._back,
            reconnect_to_server_handler=self._next_server,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0,
            connect_timeout=2,
            ping_interval=_PING_SECONDS,
            pending_size=-1,  # what is not sent is not kept either: whoever asked decides to ask again
            **options,
        )

    def _next_server(self, pool: list[PoolServer], info: dict[str, Any]) -> tuple[PoolServer | None, float]:
        """Each server in turn; pauses grow to a second and are jittered, so that many hostds do not come at once."""
        least = min(server.reconnects for server in pool)
        chosen = random.choice([server for server in pool if server.reconnects == least])
        step = min(0.05 * 2 ** min(least, 10), _LONGEST_SECONDS) if least else 0.05
        return chosen, random.uniform(step / 2, step)

    async def _failed(self, error: Exception) -> None:
        self._last_error = _told(error)
        self._failures += 1
        if self._opened:
            self._say("debug", "feed_error", reason=self._last_error)
        elif _final(error) or self._failures > len(self.url.servers) * (_CUT_OFF if _cut_off(error) else 1):
            # the only way out: while it connects for the first time nats-py tries for ever and swallows cancellation
            raise _GaveUpError

    async def _lost(self) -> None:
        if self.up.is_set():
            self.up.clear()
            self._losing.set_result(None)
            self._say("warning", "feed_lost")
            for tell in self.on_lost:
                tell()

    async def _back(self) -> None:
        self.epoch += 1
        self._last_error = ""
        self._losing = asyncio.get_running_loop().create_future()
        self.up.set()
        self._say("info", "feed_connected", server=_netloc(self.nc.connected_url))
        for tell in self.on_back:
            tell()

    def _say(self, level: str, event: str, **what: str) -> None:
        """hostd has a log; a command has its answer, and its error if there is one."""
        if self.patient:
            getattr(log, level)(event, feed=str(self.url), **what)


def _final(error: Exception) -> bool:
    """To try the next server will not help, and nats-py may hang in closing what TLS has refused."""
    return isinstance(error, ssl.SSLError) or "Authorization Violation" in str(error)


def _cut_off(error: Exception) -> bool:
    """The server hung up while we logged in. Mostly it has refused the credentials: whatever we sent after them makes
    its kernel answer with a reset, which can destroy the refusal before it is read. Another try may get to read it."""
    return isinstance(error, ConnectionResetError | BrokenPipeError | nats.errors.UnexpectedEOF)


def _netloc(url: ParseResult | None) -> str:
    return url.netloc.rpartition("@")[2] if url is not None else ""


def _told(error: BaseException) -> str:
    """One line, without the names nats-py gives itself."""
    if isinstance(error, nats.errors.AuthorizationError) or "Authorization Violation" in str(error):
        return "the server refuses these credentials (give valid ones by --feed-credentials FILE)"
    if isinstance(error, nats.errors.TimeoutError | TimeoutError):
        return "no answer in time"
    if isinstance(error, Exception) and _cut_off(error):
        return (
            "the server ended the connection (when it does so at once: perhaps it refuses these credentials)"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {error.verify_message} (--feed-ca FILE)"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__).removeprefix("nats: ").splitlines()[0]


def _credentials(path: Path) -> dict[str, Any]:
    text = secret_lines(path, "--feed-credentials")
    if "BEGIN NATS USER JWT" in text:
        return {"user_credentials": str(path)}
    user, colon, password = text.strip().partition(":")
    if not (user and colon and password) or "\n" in password:
        raise FeedError(f"--feed-credentials {path}: neither a .creds file nor one line user:password")
    return {"user": user, "password": password}


def _tls(access: Access) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(access.ca) if access.ca else None)
    except (OSError, ssl.SSLError) as error:
        raise FeedError(f"--feed-ca {access.ca}: {_told(error)}") from error
    if access.cert is not None and access.key is not None:
        secret_lines(access.key, "--feed-key")
        try:
            context.load_cert_chain(access.cert, access.key)
        except (OSError, ssl.SSLError) as error:
            raise FeedError(f"--feed-cert {access.cert}, --feed-key {access.key}: {_told(error)}") from error
    return context
