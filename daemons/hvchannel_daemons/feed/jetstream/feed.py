# SPDX-License-Identifier: Apache-2.0
"""`Feed` on NATS JetStream. Whoever puts and asks speaks to the server each time; hostd, from `claim` on, answers from
its mirror."""

import asyncio
import contextlib
import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence

from hvchannel_daemons import limits
from hvchannel_daemons.feed.groups import Member
from hvchannel_daemons.feed.interface import (
    Ack,
    Changes,
    Delivery,
    Document,
    FeedError,
    Report,
    Session,
    StoredReport,
)
from hvchannel_daemons.feed.jetstream import records
from hvchannel_daemons.feed.jetstream.behind import Behind, Message
from hvchannel_daemons.feed.jetstream.claim import Claim
from hvchannel_daemons.feed.jetstream.contents import Contents
from hvchannel_daemons.feed.jetstream.layout import Layout, ensure, last
from hvchannel_daemons.feed.jetstream.link import Link, WrongSequenceError
from hvchannel_daemons.feed.jetstream.mirror import Mirror, names
from hvchannel_daemons.feed.jetstream.reader import everything
from hvchannel_daemons.feed.jetstream.records import Entry, Known
from hvchannel_daemons.feed.jetstream.reports import Reports
from hvchannel_daemons.feed.jetstream.watching import Watching
from hvchannel_daemons.feed.location import Access, NatsUrl
from hvchannel_daemons.feed.quotas import Quota, Usage
from hvchannel_daemons.storage.pieces import ContentGone


class NatsFeed:
    """`Feed` in a NATS cluster."""

    def __init__(self, link: Link, layout: Layout, origin: str) -> None:
        """Use `open`."""
        self._link = link
        self._layout = layout
        self._origin = origin
        self._contents = Contents(link, layout)
        self._behind = Behind(link)
        self._reports = Reports(link, layout, self._contents)
        self._claim = Claim(link, layout)
        self._watching = Watching(link, layout)
        self._mirror: Mirror | None = None
        self._putting: dict[tuple[str, str], asyncio.Lock] = {}

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

    async def put(self, vif: str, key: str, content: bytes, content_type: str) -> int:
        limits.check_vif(vif)
        limits.check_key(key)
        limits.check_content_type(content_type)
        limits.check_size(len(content))
        digest = await asyncio.to_thread(lambda: hashlib.sha256(content).digest())
        large = len(content) > limits.PIECE_BYTES
        pieces = await self._contents.write(content) if large else None

        async def message(put: str, revision: int, old: Entry | None) -> Message:
            if old is None or old.document.deleted:
                await self._check_room(vif)
            size, now = len(content), time.time_ns()
            headers = records.document_headers(put, revision, content_type, digest, size, now, pieces)
            return b"" if large else content, headers

        try:
            revision = await self._replace(vif, key, message)
        except ValueError:
            await self._contents.drop(pieces)
            raise
        assert revision is not None
        return revision

    async def delete(self, vif: str, key: str) -> int | None:
        limits.check_vif(vif)
        limits.check_key(key)

        async def message(put: str, revision: int, old: Entry | None) -> Message | None:
            if old is None or old.document.deleted:
                return None
            return b"", records.tombstone_headers(put, revision, time.time_ns())

        return await self._replace(vif, key, message)

    async def put_group(self, vif: str, members: Sequence[Member]) -> dict[str, int]:
        raise FeedError("groups are not supported on NATS yet")

    async def quota(self, vif: str) -> Quota:
        return Quota()

    async def set_quota(self, vif: str, quota: Quota | None) -> None:
        raise FeedError("quotas are not supported on NATS yet")

    async def usage(self, vif: str) -> Usage:
        return Usage()

    async def delivery(self, vif: str, key: str) -> Delivery | None:
        if self._mirror is not None:
            document = self._mirror.documents(vif).get(key)
            return _delivery(document, self._mirror.known(vif, key)) if document else None
        found, ack = await self._newest(vif, key)
        return _delivery(found[1].document, ack) if found and found[1] else None

    async def content(self, document: Document) -> bytes:
        count = -(-document.size // limits.PIECE_BYTES)
        return b"".join([await self.piece(document, n) for n in range(count)])

    async def history(self, vif: str, key: str) -> list[Document]:
        subject = self._layout.document(vif, key)
        found = await everything(self._link, self._layout.documents, subject, after=0)
        entries = [records.entry(stored, vif, key) for stored in found]
        return [entry.document for entry in reversed(entries) if entry is not None]

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
        found = await everything(self._link, self._layout.state, self._layout.sessions, after=None)
        sessions = [records.decode_session(stored) for stored in found]
        return {session.vif: session for session in sessions if session is not None}

    async def vifs(self) -> list[str]:
        pattern = self._layout.documents_of(None)
        info = await self._link.call(lambda: self._link.js.stream_info(self._layout.documents, pattern))
        documents = {names(subject)[0] for subject in info.state.subjects or {}}
        return sorted(documents | set(await self._reports.vifs()) | (await self.sessions()).keys())

    async def served(self) -> bool:
        return await self._claim.served()

    async def claim(self) -> None:
        await self._claim.make()
        self._mirror = Mirror(self._link, self._layout, self._contents, self._claim, self._origin)
        self._link.patient = True
        await self._mirror.start()

    async def documents(self, vif: str, *, after: int, limit: int) -> list[Document]:
        found, _ = await self._of(vif, acks=False)
        newer = [document for document in found.values() if document.position > after]
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

    async def changes(self, *, after: int) -> AsyncIterator[Changes]:
        if self._mirror is not None:
            async for changes in self._mirror.changes(after):
                yield changes
        async for position, vifs in self._watching.vifs(after):
            yield Changes(position, vifs)

    async def position(self) -> int:
        if self._mirror is not None:
            return self._mirror.position
        stored = await last(self._link, self._layout.documents, self._layout.documents_of(None))
        return stored.sequence if stored else 0

    async def record_inventory(self, vif: str, held: Mapping[str, int]) -> None:
        documents, acks = await self._of(vif)
        now: dict[str, Known] = {}
        for key, document in documents.items():
            known = acks.get(key, Known())
            # a guest does not list tombstones: lacking the key is what the tombstone wants
            absent = document.revision if document.deleted else 0
            revision = held.get(key, absent)
            if revision != known.acknowledged:
                now[key] = known.holding(revision)
        await self._record(vif, now)

    async def record_acks(self, vif: str, acks: Sequence[Ack]) -> None:
        await self._record(vif, {ack.key: Known.of(ack) for ack in acks})

    async def add_reports(self, vif: str, reports: Sequence[Report]) -> int:
        return await self._reports.add(vif, reports)

    async def set_session(self, session: Session) -> None:
        await self._behind.put({self._layout.session(session.vif): (records.encode_session(session), None)})

    async def drop_session(self, vif: str) -> None:
        await self._behind.put({self._layout.session(vif): (b"", {records.OPERATION: "DEL"})})

    async def close(self) -> None:
        await self._watching.close()
        await self._behind.close()
        if self._mirror is not None:
            await self._mirror.close()
        await self._link.close()

    async def _replace(self, vif: str, key: str, message: "records.MakeMessage") -> int | None:
        """Compare-and-set until nobody came between. `message` gives what to store after `old`, None: nothing."""
        put = uuid.uuid4().hex
        subject = self._layout.document(vif, key)
        async with self._putting.setdefault((vif, key), asyncio.Lock()):
            while True:
                found, ack = await self._newest(vif, key)
                sequence, old = found if found else (0, None)
                if old is not None and old.put == put:
                    return old.document.revision  # stored already: only the answer got lost
                # also beyond what the guest holds: a feed restored from an old copy must not hand out
                # revisions a second time
                revision = 1 + max(old.document.revision if old else 0, ack.acknowledged)
                made = await message(put, revision, old)
                if made is None:
                    return None
                data, headers = made

                async def publish(
                    data: bytes = data, headers: dict[str, str] | None = headers, last: int = sequence
                ) -> int:
                    return await self._link.publish(subject, data, headers, last=last)

                with contextlib.suppress(WrongSequenceError):
                    await self._link.call(publish)
                    await self._contents.drop(old.document.content if old else None)
                    return revision

    async def _newest(self, vif: str, key: str) -> tuple[tuple[int, Entry | None] | None, Known]:
        """The newest message of a key, with its sequence, and the guest's last answer."""
        stored, ack = await asyncio.gather(
            last(self._link, self._layout.documents, self._layout.document(vif, key)),
            last(self._link, self._layout.state, self._layout.ack(vif, key)),
        )
        found = (stored.sequence, records.entry(stored, vif, key)) if stored else None
        return found, Known.decoded(ack)

    async def _of(self, vif: str, *, acks: bool = True) -> tuple[dict[str, Document], dict[str, Known]]:
        """The newest documents of a VIF by key, oldest change first, and the guest's last answers."""
        if self._mirror is not None:
            return self._mirror.documents(vif), self._mirror.acks.get(vif, {})
        documents: dict[str, Document] = {}
        for stored in await everything(
            self._link, self._layout.documents, self._layout.documents_of(vif), after=None
        ):
            key = names(stored.subject)[1]
            entry = records.entry(stored, vif, key)
            if entry is not None:
                documents[key] = entry.document
        if not acks:
            return documents, {}
        answers = await everything(self._link, self._layout.state, self._layout.acks_of(vif), after=None)
        return documents, {names(stored.subject)[1]: Known.decoded(stored) for stored in answers}

    async def _check_room(self, vif: str) -> None:
        """Raises ValueError when the VIF may have no further document."""
        pattern = self._layout.documents_of(vif)
        info = await self._link.call(lambda: self._link.js.stream_info(self._layout.documents, pattern))
        if len(info.state.subjects or {}) < limits.LIVE_DOCUMENTS:
            return  # tombstones included, which are cheap to count
        documents, _ = await self._of(vif, acks=False)
        if sum(not document.deleted for document in documents.values()) >= limits.LIVE_DOCUMENTS:
            raise ValueError(f"VIF {vif} has {limits.LIVE_DOCUMENTS} documents already, which is the most")

    async def _record(self, vif: str, now: Mapping[str, Known]) -> None:
        if self._mirror is not None:
            self._mirror.acks.setdefault(vif, {}).update(now)
        await self._behind.put(
            {self._layout.ack(vif, key): (known.encoded(), None) for key, known in now.items()}
        )


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
