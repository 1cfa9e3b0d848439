# SPDX-License-Identifier: Apache-2.0
"""Who holds which VIF. The owner's name is in the state bucket, written by compare-and-set, and its hostd answers calls
as long as it lives: whoever is told of a VIF that another holds waits until that one lets it go or is silent for good.

The server tells of each change of an owner (`Layout.news`), so a VIF that moves is taken over at once, and an owner
that was superseded learns of it; one that was cut off looks when it is back, before it writes anything of its VIFs.
"""

import asyncio
import contextlib
import json
import random
import uuid
from dataclasses import dataclass
from typing import Final

import nats.errors
import structlog
from nats.aio.msg import Msg

from hvchannel_daemons.feed.interface import Claim, Contended, FeedClaimedError, FeedError, Owner
from hvchannel_daemons.feed.jetstream.background import Background
from hvchannel_daemons.feed.jetstream.layout import Layout, decoded, last
from hvchannel_daemons.feed.jetstream.link import Link, WrongSequenceError
from hvchannel_daemons.feed.jetstream.reader import everything
from hvchannel_daemons.feed.jetstream.records import OPERATION, Holder, Stored

log = structlog.get_logger()

GONE_SECONDS: Final = (
    3.0  # an owner this long silent is gone: longer than one takes to reconnect to a server that is there
)
_ANSWER_SECONDS: Final = 1.0
_SILENT_SECONDS: Final = 0.5  # between calls to one who may be gone
FIRST_SECONDS: Final = 1.0  # between tries while another holds the VIF and says so, growing to
LONGEST_SECONDS: Final = 10.0
_SURE_SECONDS: Final = (
    0.2  # so that a thousand VIFs do not ask a thousand times whether we are still the host's hostd
)
_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class _Other:
    """Who holds a VIF that we would have."""

    owner: Holder
    answers: bool


class _Silence:
    """How long an owner has not answered."""

    def __init__(self) -> None:
        self._process = ""
        self._epoch = 0
        self._since = 0.0

    def lasts(self, other: _Other, epoch: int) -> str:
        """The owner's process when it has been silent for GONE_SECONDS, in one connection of ours."""
        now = asyncio.get_running_loop().time()
        if other.answers or (other.owner.process, epoch) != (self._process, self._epoch):
            self._process, self._epoch, self._since = other.owner.process, epoch, now
        return "" if now - self._since < GONE_SECONDS else self._process


class Claims:
    """Of this process. `start` it once, then `make` and `release`."""

    def __init__(self, link: Link, layout: Layout, background: Background) -> None:
        """What `background` fails with: FeedClaimedError when another process is this host's hostd now, FeedError."""
        self._link = link
        self._layout = layout
        self._background = background
        self._process = uuid.uuid4().hex
        self._held: dict[str, Claim] = {}
        self._making: set[str] = set()
        self._verified = asyncio.Event()
        self._host_checked = 0.0
        self.host = ""

    async def start(self, host: str) -> None:
        """Makes this process the host's hostd. Raises FeedClaimedError, FeedError."""
        self.host = host
        before = await last(self._link, self._layout.state, self._layout.host(host))
        if await self._answers(host):
            raise self._taken()
        try:
            await self._write(self._layout.host(host), before)
        except WrongSequenceError:
            now = await last(self._link, self._layout.state, self._layout.host(host))
            if not self._is_ours(now):  # else it is the answer that got lost
                raise self._taken() from None
        await self._link.call(lambda: self._link.nc.subscribe(self._layout.call(host), cb=self._answer))
        self._verified.set()
        self._link.on_lost.append(self._verified.clear)
        self._link.on_back.append(lambda: self._background.spawn(self._verify()))

    async def make(self, vif: str, contended: Contended) -> Claim:
        """As Feed's `claim`. Raises FeedError."""
        self._held.pop(vif, None)
        self._making.add(vif)  # before it is written that it is ours: from then on others ask
        try:
            other = await self._try(vif)
            if other is not None:
                await self._contend(vif, other, contended)
            claim = self._held[vif] = Claim(vif)
        finally:
            self._making.discard(vif)
        return claim

    async def release(self, vif: str) -> None:
        """Nobody holds the VIF if we did, or an earlier hostd of this host. Raises FeedError."""
        self._held.pop(vif, None)
        stored = await last(self._link, self._layout.state, self._layout.owner(vif))
        owner = Holder.decoded(stored.data if stored else None)
        if stored is None or owner is None or owner.host != self.host:
            return
        subject, before = self._layout.owner(vif), stored.sequence

        async def write() -> int:
            return await self._link.publish(subject, b"", {OPERATION: "DEL"}, last=before)

        with contextlib.suppress(WrongSequenceError):  # it is done already, or another has it
            await self._link.call(write)

    async def may_write(self, vif: str) -> bool:
        """Whether the VIF is ours; after the connection was lost, not before that is known."""
        await self._verified.wait()
        return vif in self._held

    async def check(self, vif: str) -> bool:
        """Whether the VIF is still ours; when not, its claim is told. Raises FeedError."""
        stored = await last(self._link, self._layout.state, self._layout.owner(vif))
        if vif not in self._held:
            return False
        if self._is_ours(stored):
            return True
        other = await self._try(vif)
        claim = self._held.get(vif) if other is None else self._held.pop(vif, None)
        if other is not None and claim is not None and not claim.taken.done():
            log.warning("vif_taken", vif=vif, by=other.owner.host)
            claim.taken.set_result(other.owner.host)
        return other is None and claim is not None

    def heard(self, vif: str, data: bytes) -> None:
        """The server tells that the owner has changed."""
        now = Holder.decoded(data)
        if vif in self._held and (now is None or now.process != self._process):
            self._background.spawn(self._check(vif))

    async def owner(self, vif: str) -> Owner | None:
        stored = await last(self._link, self._layout.state, self._layout.owner(vif))
        found = Holder.decoded(stored.data if stored else None)
        return Owner(found.host, await self._answers(found.host)) if found else None

    async def owners(self) -> dict[str, Owner]:
        hosts = await self.hosts()
        room = asyncio.Semaphore(_AT_ONCE)

        async def ask(host: str) -> tuple[str, bool]:
            async with room:
                return host, await self._answers(host)

        alive = dict(await asyncio.gather(*(ask(host) for host in set(hosts.values()))))
        return {vif: Owner(host, alive[host]) for vif, host in hosts.items()}

    async def hosts(self) -> dict[str, str]:
        """Of each VIF that is held by whom, alive or not."""
        found = await everything(self._link, self._layout.state, self._layout.owner(None), after=None)
        holders = {
            decoded(stored.subject.rpartition(".")[2]): Holder.decoded(stored.data) for stored in found
        }
        return {vif: holder.host for vif, holder in holders.items() if holder is not None}

    async def _try(self, vif: str, given_up: str = "") -> "_Other | None":
        """Makes the VIF ours, or returns who holds it; from the process that is given up it is taken when it does not
        answer. Raises FeedError."""
        subject = self._layout.owner(vif)
        while True:
            stored = await last(self._link, self._layout.state, subject)
            owner = Holder.decoded(stored.data if stored else None)
            if owner is not None and owner.host != self.host:
                answers = await self._answers(owner.host, vif)
                if answers or owner.process != given_up:
                    return _Other(owner, answers)
            elif owner is not None and owner.process != self._process:
                await self._check_host()  # an earlier process of this host wrote it, unless a later one did
            with contextlib.suppress(WrongSequenceError):
                # ours too is written again: what an answer that got lost has done does not come after this
                await self._write(subject, stored)
                return None

    async def _contend(self, vif: str, other: "_Other | None", contended: Contended) -> None:
        """Returns when the VIF is ours."""
        changed = asyncio.Event()

        async def heard(message: Msg) -> None:
            changed.set()

        subject, step = self._layout.owner_news(vif), 0.0
        silence = _Silence()
        news = await self._link.call(lambda: self._link.nc.subscribe(subject, cb=heard))
        try:
            while other is not None:
                await contended(other.owner.host)
                given_up = silence.lasts(other, self._link.epoch)
                pause = random.uniform(step / 2, step) if other.answers else min(step, _SILENT_SECONDS)
                # at once the first time: it may have been released before we listened
                step = min(max(2 * step, FIRST_SECONDS), LONGEST_SECONDS)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await changed.wait()
                changed.clear()
                other = await self._try(vif, given_up)
        finally:
            with contextlib.suppress(Exception):
                await news.unsubscribe()

    async def _answers(self, host: str, vif: str = "") -> bool:
        """Whether the host's hostd is there, and holds the VIF where one is given."""
        if host == self.host and self._verified.is_set():
            return True

        async def ask() -> bool:
            try:
                answer = await self._link.nc.request(
                    self._layout.call(host), vif.encode(), timeout=_ANSWER_SECONDS
                )
            except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
                if not self._link.up.is_set():
                    raise
                return False
            return not vif or bool(json.loads(answer.data)["holds"])

        return await self._link.call(ask)

    async def _answer(self, message: Msg) -> None:
        await message.respond(
            json.dumps({"holds": message.data.decode() in self._held.keys() | self._making}).encode()
        )

    async def _write(self, subject: str, before: Stored | None) -> None:
        ours, sequence = Holder(self.host, self._process).encoded(), before.sequence if before else 0

        async def write() -> None:
            await self._link.publish(subject, ours, last=sequence)

        await self._link.call(write)

    def _is_ours(self, stored: Stored | None) -> bool:
        owner = Holder.decoded(stored.data if stored else None)
        return owner is not None and owner.process == self._process

    def _taken(self) -> FeedClaimedError:
        return FeedClaimedError(f"feed {self._link.url}: another hostd serves it for hypervisor {self.host}")

    async def _check_host(self) -> None:
        """Raises FeedClaimedError when another process is this host's hostd now."""
        now = asyncio.get_running_loop().time()
        if now - self._host_checked < _SURE_SECONDS and self._verified.is_set():
            return
        if not self._is_ours(await last(self._link, self._layout.state, self._layout.host(self.host))):
            self._background.fail(self._taken())
            raise self._taken()
        self._host_checked = now

    async def _verify(self) -> None:
        """The connection is back: is what we hold still ours?"""
        epoch = self._link.epoch
        try:
            await self._check_host()
            room = asyncio.Semaphore(_AT_ONCE)

            async def check(vif: str) -> None:
                async with room:
                    await self.check(vif)

            await asyncio.gather(*(check(vif) for vif in list(self._held)))
        except FeedError as error:
            self._background.fail(error)
            return
        if self._link.up.is_set() and epoch == self._link.epoch:
            self._verified.set()

    async def _check(self, vif: str) -> None:
        try:
            await self.check(vif)
        except FeedError as error:
            self._background.fail(error)
