# SPDX-License-Identifier: Apache-2.0
"""`Feed` on NATS JetStream. Whoever puts and asks speaks to the server each time; of the VIFs that it holds, hostd
answers from its mirror."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from hvchannel_daemons import limits
from hvchannel_daemons.feed.groups import Member
from hvchannel_daemons.feed.interface import (
    Ack,
    Claim,
    Contended,
    Delivery,
    Document,
    Owner,
    Report,
    Session,
    SessionState,
    StoredReport,
)
from hvchannel_daemons.feed.jetstream import records
from hvchannel_daemons.feed.jetstream.background import Background
from hvchannel_daemons.feed.jetstream.behind import Behind, Message
from hvchannel_daemons.feed.jetstream.claims import Claims
from hvchannel_daemons.feed.jetstream.contents import Contents
from hvchannel_daemons.feed.jetstream.layout import Layout, decoded, ensure, last, names, subjects
from hvchannel_daemons.feed.jetstream.link import Link, WrongSequenceError
from hvchannel_daemons.feed.jetstream.mirror import Mirror
from hvchannel_daemons.feed.jetstream.orphans import Orphans
from hvchannel_daemons.feed.jetstream.putting import Putting
from hvchannel_daemons.feed.jetstream.reader import everything
from hvchannel_daemons.feed.jetstream.records import Known
from hvchannel_daemons.feed.jetstream.replay import newest, replayed
from hvchannel_daemons.feed.jetstream.reports import Reports
from hvchannel_daemons.feed.jetstream.room import Room
from hvchannel_daemons.feed.jetstream.watching import Watching
from hvchannel_daemons.feed.location import Access, NatsUrl
from hvchannel_daemons.feed.quotas import Quota, Usage
from hvchannel_daemons.storage.pieces import ContentGone

_RELEASE_SECONDS: Final = 0.2  # between looks at whether the server is there
_DROPPED: Final[Message] = (b"", records.headers({"held": True}, deleted=True))
_RELEASED: Final[Message] = (b"", {records.OPERATION: "DEL"})


class NatsFeed:
    """`Feed` in a NATS cluster."""

    def __init__(self, link: Link, layout: Layout, origin: str) -> None:
        """Use `open`."""
        self._link = link
        self._layout = layout
        self._origin = origin
        self._contents = Contents(link, layout)
        self._background = Background()
        self._claims = Claims(link, layout, self._background)
        self._behind = Behind(link, layout, self._claims)
        self._reports = Reports(link, layout, self._contents)
        self._watching = Watching(link, layout)
        self._room = Room(link, layout)
        self._mirror = Mirror(link, layout, self._contents, self._claims, self._background, origin)
        self._orphans = Orphans(link, layout, self._contents, self._claims, self._mirror)
        self._releasing: dict[str, asyncio.Task[None]] = {}
        self._putting = Putting(link, layout, self._contents, self._room)

    @classmethod
    async def open(cls, url: NatsUrl, access: Access, *, create: bool = True) -> "NatsFeed":
        """Raises FeedError; FeedAwayError when the servers cannot be reached now."""
        link = await Link.open(url, access)
        try:
            layout = Layout(url.name)
            await ensure(link, layout, create=create, replicas=access.replicas)
            return cls(link, layout, await _origin(link, layout))
        except BaseException:
            await link.close()
            raise

    @property
    def origin(self) -> str:
        return self._origin

    @property
    def away(self) -> str:
        return self._link.away

    @property
    def reconnects(self) -> int:
        return self._link.epoch

    async def put(self, vif: str, key: str, content: bytes, content_type: str) -> int:
        return await self._putting.put(vif, Member(key, content, content_type))

    async def delete(self, vif: str, key: str) -> int | None:
        return await self._putting.delete(vif, key)

    async def put_group(self, vif: str, members: Sequence[Member]) -> dict[str, int]:
        return await self._putting.put_group(vif, members)

    async def quota(self, vif: str) -> Quota:
        return await self._room.quota(vif)

    async def set_quota(self, vif: str, quota: Quota | None) -> None:
        limits.check_vif(vif)
        if quota is not None:
            quota.check()
        await self._room.set_quota(vif, quota)

    async def usage(self, vif: str) -> Usage:
        return await self._room.usage(vif)

    async def delivery(self, vif: str, key: str) -> Delivery | None:
        if (held := self._mirror.of(vif)) is not None:
            document = held.documents.get(key)
            return _delivery(document, held.acks.get(key, Known())) if document else None
        document, known = await self._putting.newest(vif, key)
        return _delivery(document, known) if document is not None else None

    async def content(self, document: Document) -> bytes:
        count = -(-document.size // limits.PIECE_BYTES)
        return b"".join([await self.piece(document, n) for n in range(count)])

    async def history(self, vif: str, key: str) -> list[Document]:
        subject = self._layout.document(vif, key)
        found = await everything(self._link, self._layout.documents, subject, after=0)
        documents = [await newest(self._link, self._layout, vif, key, stored) for stored in found]
        # of a group that was never completed there is nothing: in its place stands the revision before, a second time
        known = {document.revision: document for document in documents if document is not None}
        return [known[revision] for revision in sorted(known, reverse=True)]

    async def deliveries(self, vif: str) -> list[Delivery]:
        documents, acks = await self._of(vif)
        return [_delivery(documents[key], acks.get(key, Known())) for key in sorted(documents)]

    async def settled(self, vif: str, key: str, revision: int) -> Delivery:
        async with self._watching.acks(vif, key) as turns:
            async for _ in turns:
                delivery = await self.delivery(vif, key)
                if delivery is None:
                    raise KeyError(key)
                if delivery.acknowledged >= revision or (
                    delivery.settled and delivery.document.revision == revision
                ):
                    return delivery
        raise AssertionError("turns never end")

    async def watch(self, vif: str, *, after: int = 0) -> AsyncIterator[Delivery]:
        limits.check_vif(vif)
        shown: dict[str, Delivery] = {}
        async for key in self._watching.keys(vif, after):
            delivery = await self.delivery(vif, key)
            if delivery is not None and shown.get(key) != delivery:
                shown[key] = delivery
                yield delivery

    async def reports(self, vif: str, *, after: int = 0, limit: int = 1000) -> list[StoredReport]:
        return await self._reports.of(vif, after=after, limit=limit)

    async def last_reports(self) -> dict[str, StoredReport]:
        return await self._reports.last()

    async def sessions(self) -> dict[str, Session]:
        hosts, sessions = await asyncio.gather(self._claims.hosts(), self._sessions())
        found: dict[str, Session] = {}
        for session in sorted(sessions, key=lambda session: session.since_unix_ns):
            if hosts.get(session.vif, session.host) == session.host:
                found[session.vif] = session
        return found

    async def contenders(self) -> dict[str, list[Session]]:
        found: dict[str, list[Session]] = {}
        for session in await self._sessions():
            if session.state is SessionState.CONTENDED:
                found.setdefault(session.vif, []).append(session)
        return found

    async def vifs(self) -> list[str]:
        found, _ = await subjects(self._link, self._layout.documents, self._layout.documents_of(None))
        documents = {names(subject)[0] for subject in found}
        sessions = {session.vif for session in await self._sessions()}
        return sorted(documents | set(await self._reports.vifs()) | sessions)

    async def owners(self) -> dict[str, Owner]:
        return await self._claims.owners()

    async def owner(self, vif: str) -> Owner | None:
        return await self._claims.owner(vif)

    async def serve(self, host: str) -> set[str]:
        limits.check_host(host)
        await self._claims.start(host)
        self._link.patient = True
        await self._mirror.start()
        self._orphans.start()
        sessions = self._layout.sessions_of(host)
        before = await everything(self._link, self._layout.state, sessions, after=None)
        await self._behind.put({stored.subject: _DROPPED for stored in before if stored.data})
        held = [stored for stored in before if stored.data or stored.about]
        return {decoded(stored.subject.rpartition(".")[2]) for stored in held}

    async def failed(self) -> None:
        await self._background.failed()

    async def claim(self, vif: str, contended: Contended) -> Claim:
        limits.check_vif(vif)
        if (releasing := self._releasing.pop(vif, None)) is not None:
            releasing.cancel()
            await asyncio.gather(releasing, return_exceptions=True)
        await self._forget(vif)
        claim = await self._claims.make(vif, contended)
        self._behind.expect(vif, await self._mirror.add(claim))
        return claim

    async def release(self, vif: str) -> None:
        if (releasing := self._releasing.pop(vif, None)) is not None:
            releasing.cancel()
        releasing = self._releasing[vif] = asyncio.create_task(self._release(vif))
        while not releasing.done() and self._link.up.is_set():
            await asyncio.wait((releasing,), timeout=_RELEASE_SECONDS)
        if releasing.done():
            if self._releasing.get(vif) is releasing:
                del self._releasing[vif]
            if not releasing.cancelled():
                releasing.result()

    async def _release(self, vif: str) -> None:
        session = self._layout.session(self._claims.host, vif)
        await self._forget(vif)
        await self._claims.release(vif)
        await self._behind.put({session: _RELEASED})

    async def documents(self, vif: str, *, after: int, limit: int) -> list[Document]:
        found, _ = await self._of(vif, acks=False)
        newer = [document for document in found.values() if document.position > after]
        while limit < len(newer) and newer[limit].position == newer[limit - 1].position:
            limit += 1  # all of a group
        return newer[:limit]

    async def piece(self, document: Document, n: int) -> bytes:
        return await self._contents.piece(document, n)

    async def small(self, documents: Sequence[Document]) -> list[bytes | None]:
        async def content(document: Document) -> bytes | None:
            if document.size == 0 or document.content is None:
                return b""
            try:
                return await self.piece(document, 0)
            except ContentGone:
                return None

        return list(await asyncio.gather(*(content(document) for document in documents)))

    async def _forget(self, vif: str) -> None:
        await self._mirror.drop(vif)
        self._reports.forget(vif)
        self._behind.forget(vif)

    async def position(self, vif: str) -> int:
        if (held := self._mirror.of(vif)) is not None:
            return held.position
        stored = await last(self._link, self._layout.documents, self._layout.documents_of(vif))
        return stored.sequence if stored else 0

    async def record_inventory(self, vif: str, held: Mapping[str, int]) -> None:
        documents, acks = await self._of(vif)
        now: dict[str, Known] = {}
        for key, document in documents.items():
            known = acks.get(key, Known())
            # a guest does not list tombstones: lacking the key is what the tombstone wants
            absent = document.revision if document.deleted else 0
            revision = limits.check_held(key, held.get(key, absent), document.revision)
            if revision != known.acknowledged:
                now[key] = known.holding(revision)
        await self._record(vif, now)

    async def record_acks(self, vif: str, acks: Sequence[Ack]) -> None:
        await self._record(vif, {ack.key: Known.of(ack) for ack in acks})

    async def add_reports(self, vif: str, reports: Sequence[Report]) -> int:
        return await self._reports.add(vif, reports)

    async def set_session(self, session: Session) -> None:
        subject = self._layout.session(session.host, session.vif)
        await self._behind.put({subject: (records.encode_session(session), None)})

    async def drop_session(self, vif: str) -> None:
        await self._behind.put({self._layout.session(self._claims.host, vif): _DROPPED})

    async def close(self) -> None:
        await self._watching.close()
        await self._behind.close()
        for releasing in self._releasing.values():
            releasing.cancel()
        await self._orphans.close()
        await self._background.close()
        await self._mirror.close()
        await self._link.close()

    async def _of(self, vif: str, *, acks: bool = True) -> tuple[dict[str, Document], dict[str, Known]]:
        """The newest documents of a VIF by key, oldest change first, and the guest's last answers."""
        if (held := self._mirror.of(vif)) is not None:
            return held.documents, held.acks
        documents = (await replayed(self._link, self._layout, vif)).documents
        if not acks:
            return documents, {}
        answers = await everything(self._link, self._layout.state, self._layout.acks_of(vif), after=None)
        return documents, {names(stored.subject)[1]: Known.decoded(stored) for stored in answers}

    async def _record(self, vif: str, now: Mapping[str, Known]) -> None:
        held = self._mirror.of(vif)
        if held is not None:
            held.acks.update(now)
        messages: dict[str, Message] = {
            self._layout.ack(vif, key): (known.encoded(), None) for key, known in now.items()
        }
        await self._behind.put(messages, vif if held is not None else None)

    async def _sessions(self) -> list[Session]:
        """At all hypervisors."""
        found = await everything(self._link, self._layout.state, self._layout.sessions_of(None), after=None)
        sessions = [records.decode_session(stored) for stored in found]
        return [session for session in sessions if session is not None]


def _delivery(document: Document, known: Known) -> Delivery:
    return Delivery(document, known.acknowledged, known.answered, known.outcome, known.error)


async def _origin(link: Link, layout: Layout) -> str:
    """The feed's identity: the first message of its documents, written once. Raises FeedError."""
    while True:
        stored = await last(link, layout.documents, layout.origin)
        if stored is not None:
            return stored.data.decode()
        name = uuid.uuid4().hex.encode()
        with contextlib.suppress(WrongSequenceError):
            await link.call(lambda name=name: link.publish(layout.origin, name, last=0))  # type: ignore[misc]
