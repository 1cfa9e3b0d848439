# SPDX-License-Identifier: Apache-2.0
"""Reports: a stream with a subject per VIF, each report once, the oldest given up for room."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from hvchannel_daemons import limits
from hvchannel_daemons.feed.interface import Report, StoredReport
from hvchannel_daemons.feed.jetstream.contents import Contents
from hvchannel_daemons.feed.jetstream.layout import REPORTS_KEPT, Layout, decoded, last, subjects
from hvchannel_daemons.feed.jetstream.link import Link, WrongSequenceError
from hvchannel_daemons.feed.jetstream.reader import everything
from hvchannel_daemons.feed.jetstream.records import ReportAbout, report_headers, stored_report
from hvchannel_daemons.storage.pieces import ContentGone

BYTES_KEPT: Final = 64 * limits.MIB  # of one VIF


@dataclass(slots=True)
class _Tail:
    """What is stored of a VIF, oldest first: (sequence, id, bytes, pieces)."""

    stored: deque[tuple[int, str, int, str | None]] = field(default_factory=deque)
    ids: set[str] = field(default_factory=set)
    bytes: int = 0

    def add(self, sequence: int, identity: str, size: int, pieces: str | None) -> None:
        self.stored.append((sequence, identity, size, pieces))
        self.ids.add(identity)
        self.bytes += size

    def drop(self) -> tuple[int, str | None]:
        sequence, identity, size, pieces = self.stored.popleft()
        self.ids.discard(identity)
        self.bytes -= size
        return sequence, pieces

    @property
    def last(self) -> int:
        return self.stored[-1][0] if self.stored else 0


class Reports:
    """Every method may raise FeedError."""

    def __init__(self, link: Link, layout: Layout, contents: Contents) -> None:
        self._link = link
        self._layout = layout
        self._contents = contents
        self._tails: dict[str, _Tail] = {}
        self._writing: dict[str, asyncio.Lock] = {}

    async def add(self, vif: str, reports: Sequence[Report]) -> int:
        """Stores those that are new; how many were."""
        async with self._writing.setdefault(vif, asyncio.Lock()):
            added = 0
            for report in reports:
                added += await self._add(vif, report)
            if added:
                await self._make_room(vif)
            return added

    def forget(self, vif: str) -> None:
        """It is held no longer."""
        self._tails.pop(vif, None)

    async def of(self, vif: str, *, after: int, limit: int) -> list[StoredReport]:
        subject = self._layout.reports_of(vif)
        found = await everything(self._link, self._layout.reports, subject, after=after, limit=limit)
        reports: list[StoredReport] = []
        for stored in found:
            about = ReportAbout.of(stored)
            try:
                data = stored.data if about.pieces is None else await self._large(about.pieces, about.size)
            except ContentGone:
                continue  # given up for room meanwhile
            if (report := stored_report(stored, data)) is not None:
                reports.append(report)
        return reports

    async def last(self) -> dict[str, StoredReport]:
        found = {
            vif: await last(self._link, self._layout.reports, self._layout.reports_of(vif))
            for vif in await self.vifs()
        }
        reports = {vif: stored_report(stored, b"") for vif, stored in found.items() if stored is not None}
        return {vif: report for vif, report in reports.items() if report is not None}

    async def vifs(self) -> list[str]:
        found, _ = await subjects(self._link, self._layout.reports, self._layout.reports_of(None))
        return [decoded(name.rpartition(".")[2]) for name in found]

    async def _add(self, vif: str, report: Report) -> bool:
        subject = self._layout.reports_of(vif)
        large = len(report.data) > limits.PIECE_BYTES
        pieces: str | None = None
        while True:
            tail = self._tails.get(vif) or await self._load(vif)
            if report.id.hex() in tail.ids:
                return False
            if large and pieces is None:
                handle = self._layout.report_content(vif, report.id.hex())
                pieces = await self._contents.write(report.data, handle)
            headers = report_headers(report, time.time_ns(), pieces)
            data = b"" if large else report.data

            async def publish(
                last: int = tail.last, headers: dict[str, str] = headers, data: bytes = data
            ) -> int:
                return await self._link.publish(subject, data, headers, last=last)

            try:
                sequence = await self._link.call(publish)
            except WrongSequenceError:
                # another process wrote, or an earlier try of ours whose answer got lost: look again
                self._tails.pop(vif, None)
                continue
            tail.add(sequence, report.id.hex(), len(report.data), pieces)
            return True

    async def _load(self, vif: str) -> _Tail:
        tail = _Tail()
        subject = self._layout.reports_of(vif)
        for stored in await everything(self._link, self._layout.reports, subject, after=0, headers_only=True):
            about = ReportAbout.of(stored)
            tail.add(stored.sequence, about.id, about.size, about.pieces)
        self._tails[vif] = tail
        return tail

    async def _make_room(self, vif: str) -> None:
        tail = self._tails.get(vif)
        if tail is None:
            return
        gone: list[str | None] = []
        upto = 0
        while len(tail.stored) > REPORTS_KEPT or tail.bytes > BYTES_KEPT:
            upto, pieces = tail.drop()
            gone.append(pieces)
        if upto:
            subject = self._layout.reports_of(vif)
            await self._link.call(
                lambda: self._link.js.purge_stream(self._layout.reports, seq=upto + 1, subject=subject)
            )
        for handle in gone:
            await self._contents.drop(handle)

    async def _large(self, pieces: str, size: int) -> bytes:
        return b"".join(
            [await self._contents.stored(pieces, n) for n in range(-(-size // limits.PIECE_BYTES))]
        )
