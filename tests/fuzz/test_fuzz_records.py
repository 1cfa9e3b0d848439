# SPDX-License-Identifier: Apache-2.0
"""What another client of the NATS server may have put into the feed's buckets is passed over."""

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hvchannel_daemons import limits
from hvchannel_daemons.feed import Ack, Outcome, Report, Session, SessionState, open_feed
from hvchannel_daemons.feed.jetstream import records
from hvchannel_daemons.feed.jetstream.layout import Layout
from hvchannel_daemons.feed.jetstream.records import Holder, Known, ReportAbout, Stored
from hypothesis import given
from hypothesis import strategies as st

from tests.daemons import nats_servers
from tests.fuzz.damage import altered, examples

SESSION = json.loads(records.encode_session(Session("vm1", SessionState.READY, "", 1)))
KNOWN = json.loads(Known.of(Ack("a", 1, Outcome.STORED, 1)).encoded())
HOLDER = json.loads(Holder("hv1", "p").encoded())
DOCUMENT = json.loads(records.document_headers("p", 1, "", bytes(32), 3, 1, None, ("g", 2))[records.ABOUT])
REPORT = Report(bytes(16), 1, "t", "", b"", 1)
ABOUT = json.loads(records.report_headers(REPORT, 1, "x.report-y")[records.ABOUT])


def stored(data: bytes = b"", about: str = "", *, deleted: bool = False) -> Stored:
    more = {records.OPERATION: "DEL"} if deleted else {}
    return Stored("$KV.x.vm1.a", 7, {records.ABOUT: about} | more, data)


@examples(150)
@given(altered(SESSION))
def test_sessions(text: str) -> None:
    read = records.decode_session(stored(text.encode(errors="replace")))
    if read is not None:
        assert Session(**dataclasses.asdict(read)) == read
        assert isinstance(read.attempts + read.next_unix_ns, int)
        assert isinstance(read.error + read.reason + read.vif, str)


@examples(150)
@given(altered(KNOWN))
def test_acks(text: str) -> None:
    known = Known.decoded(stored(text.encode(errors="replace")))
    assert 0 <= known.acknowledged <= limits.REVISION_MAX
    assert 0 <= known.answered <= limits.REVISION_MAX


@examples(50)
@given(altered(HOLDER))
def test_holders(text: str) -> None:
    Holder.decoded(text.encode(errors="replace"))


@examples(150)
@given(altered(DOCUMENT), st.booleans())
def test_documents(text: str, deleted: bool) -> None:
    entry = records.entry(stored(about=text, deleted=deleted), "vm1", "a")
    if entry is not None:
        document = entry.document
        assert 1 <= document.revision <= limits.REVISION_MAX
        assert 0 <= document.size <= limits.DOCUMENT_BYTES
        assert deleted or isinstance(document.content, int | str)


@examples(150)
@given(altered(ABOUT))
def test_reports(text: str) -> None:
    message = stored(b"x", about=text)
    about = ReportAbout.of(message)
    assert 0 <= about.size <= limits.REPORT_BYTES
    report = records.stored_report(message, b"")
    if report is not None:
        assert 0 <= report.report.sequence <= limits.REVISION_MAX


@pytest.mark.skipif(nats_servers.PROGRAM is None, reason=nats_servers.MISSING)
async def test_a_feed_with_garbage_in_every_bucket_serves(tmp_path: Path) -> None:
    """Beside documents that are right, under subjects of any shape; before hostd's end opens it and while it serves."""
    with nats_servers.running(tmp_path) as server:
        url = f"{server.url}/site"
        feed = await open_feed(url)
        assert await feed.put("vm1", "a", b"right", "") == 1
        layout = Layout("site")

        async def garbage() -> None:
            for subject in _subjects(layout):
                for text in (
                    "",
                    "null",
                    "[" * 100_000,
                    '{"revision": "x", "put": {}}',
                    '{"sequence": -1, "size": "x"}',
                ):
                    headers: dict[str, Any] = {records.ABOUT: text} if len(text) < 1000 else {}
                    await feed._link.nc.publish(subject, text.encode(), headers=headers)
            await feed._link.nc.flush()

        await garbage()
        serving = await open_feed(url)
        await serving.serve("hv1")
        claim = await serving.claim("vm1", _never)
        await garbage()
        assert await feed.put("vm1", "b", b"too", "") == 1
        async with asyncio.timeout(30):
            while {d.key for d in await serving.documents("vm1", after=0, limit=100)} != {"a", "b"}:
                claim.changed.clear()
                await asyncio.wait((asyncio.ensure_future(claim.changed.wait()),), timeout=0.1)
        await serving.record_inventory("vm1", {"a": 1})
        await serving.record_acks("vm1", [Ack("b", 1, Outcome.STORED, 1)])
        assert await serving.add_reports("vm1", [REPORT]) == 1
        async with asyncio.timeout(30):
            assert (await feed.settled("vm1", "a", 1)).acknowledged == 1
            assert (await feed.settled("vm1", "b", 1)).acknowledged == 1
        assert REPORT in [one.report for one in await feed.reports("vm1")]
        await serving.set_session(Session("vm1", SessionState.READY, "", 1, host="hv1"))
        await feed.sessions()
        await feed.last_reports()
        await feed.vifs()
        await feed.owners()
        await feed.history("vm1", "a")
        await serving.close()
        await feed.close()


async def _never(host: str) -> None:
    raise AssertionError(host)


def _subjects(layout: Layout) -> list[str]:
    documents, state = layout.origin.removesuffix(".origin"), layout.quota("x").removesuffix(".quota.x")
    return [
        f"{documents}.vm1.other",
        f"{documents}.vm1.=g",
        f"{documents}.vm1.=gx",
        f"{documents}.=2E=2E.=",
        f"{documents}.deep.er.than.ours",
        f"{documents}.one",
        f"{state}.ack.vm1.a",
        f"{state}.ack.vm1.=",
        f"{state}.ack.x",
        f"{state}.session.hv1.vm1",
        f"{state}.session.hv9.vm1",
        f"{state}.session.hv9",
        f"{state}.owner.vm9",
        f"{state}.host.hv9",
        f"{state}.quota.vm1",
        f"{state}.unheard.of",
        layout.reports_of("vm1"),
        layout.piece("vm1.x", 0),
    ]
