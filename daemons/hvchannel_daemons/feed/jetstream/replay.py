# SPDX-License-Identifier: Apache-2.0
"""What the messages of a VIF come to, read in their order: its newest documents, those of a group once it is complete.

The members of a group are messages like any other, each of its key; the group is put when, after all of them, its mark
is stored (`Layout.group`). Until then, and for ever when the put died half-way, the revision before is the newest.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from hvchannel_daemons import limits
from hvchannel_daemons.feed.interface import Document
from hvchannel_daemons.feed.jetstream import records
from hvchannel_daemons.feed.jetstream.layout import Layout, following, group_of, last, names
from hvchannel_daemons.feed.jetstream.link import Link
from hvchannel_daemons.feed.jetstream.reader import everything
from hvchannel_daemons.feed.jetstream.records import Stored


class NotOursError(ValueError):
    """The message is nothing that a put wrote; one line on why."""


@dataclass(eq=False, slots=True)
class Replay:
    """Of one VIF. A member of a group has its mark's sequence as position: all of them have the same."""

    documents: dict[str, Document] = field(default_factory=dict)  # by key, oldest change first
    read: int = 0  # sequence of the last message
    _waiting: dict[str, dict[str, Document]] = field(default_factory=dict)  # members by group and key
    _marks: dict[str, int] = field(default_factory=dict)  # sequence, by group

    def take(self, stored: Stored) -> tuple[list[Document], list[Document]]:
        """Returns the documents that are newest now, and those that nobody wants any more. Raises NotOursError."""
        self.read = max(self.read, stored.sequence)
        group = group_of(stored.subject)
        if group:
            self._marks[group] = stored.sequence
            members = self._waiting.pop(group, {})
            return self._put(replace(member, position=stored.sequence) for member in members.values())
        vif, key = names(stored.subject)
        try:
            limits.check_vif(vif)
            limits.check_key(key)
        except ValueError as error:
            raise NotOursError(str(error)) from error
        entry = records.entry(stored, vif, key)
        if entry is None:
            raise NotOursError("not written by hvchannel")
        document = entry.document
        if document.group:
            self._waiting.setdefault(document.group, {})[key] = document
            return [], []
        return self._put(iter((document,)))

    async def settle(self, link: Link, layout: Layout) -> None:
        """After each key's last message was taken: where that waits for its group, finds the revision before it.
        Raises FeedError."""
        for members in list(self._waiting.values()):
            for member in members.values():
                before = await _before(link, layout, member, self._marks)
                if before is not None:
                    self._put(iter((before,)))
        self.documents = dict(sorted(self.documents.items(), key=lambda item: item[1].position))

    def _put(self, documents: Iterator[Document]) -> tuple[list[Document], list[Document]]:
        newest, unwanted = [], []
        for document in documents:
            old = self.documents.get(document.key)
            if old is not None and old.revision >= document.revision:
                if old.revision > document.revision:
                    unwanted.append(document)  # the group was slower than a later put
                continue  # else read a second time
            if old is not None:
                unwanted.append(self.documents.pop(document.key))
            self.documents[document.key] = document
            newest.append(document)
        return newest, unwanted


async def replayed(link: Link, layout: Layout, vif: str) -> Replay:
    """All there is now. Raises FeedError."""
    replay = Replay()
    for stored in await everything(link, layout.documents, layout.documents_of(vif), after=None):
        with contextlib.suppress(NotOursError):
            replay.take(stored)
    await replay.settle(link, layout)
    return replay


async def caught_up(link: Link, layout: Layout, vif: str, replay: Replay) -> Replay:
    """Reads on where `replay` stands. Raises FeedError."""
    # one by one: the server (2.9) miscounts what a consumer of many subjects that begins in the middle has coming
    subject = layout.documents_of(vif)
    while (stored := await following(link, layout.documents, subject, replay.read)) is not None:
        with contextlib.suppress(NotOursError):
            replay.take(stored)
    return replay


async def newest(link: Link, layout: Layout, vif: str, key: str, stored: Stored | None) -> Document | None:
    """The newest document of a key whose last message is `stored`. Raises FeedError."""
    entry = records.entry(stored, vif, key) if stored is not None else None
    if entry is None or not entry.document.group:
        return entry.document if entry else None
    mark = await last(link, layout.documents, layout.group(vif, entry.document.group))
    if mark is not None:
        return replace(entry.document, position=mark.sequence)
    return await _before(link, layout, entry.document, None)


async def _before(
    link: Link, layout: Layout, member: Document, marks: dict[str, int] | None
) -> Document | None:
    """The newest revision before a member of a group that is not complete. `marks`: all there are; None: ask."""
    subject = layout.document(member.vif, member.key)
    for stored in reversed(await everything(link, layout.documents, subject, after=0)):
        entry = records.entry(stored, member.vif, member.key)
        if entry is None or entry.document.revision >= member.revision:
            continue
        group = entry.document.group
        if not group:
            return entry.document
        position = marks.get(group) if marks is not None else None
        if marks is None:
            mark = await last(link, layout.documents, layout.group(member.vif, group))
            position = mark.sequence if mark else None
        if position is not None:
            return replace(entry.document, position=position)
    return None
