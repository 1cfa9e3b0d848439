# SPDX-License-Identifier: Apache-2.0
"""Traces: the text a person reads, the JSON a program reads, the limit, and that tracing changes nothing."""

from __future__ import annotations

import errno
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from hvchannel_softswitch.engine import ActionCall, EntryKey, Exact, Ternary
from hvchannel_softswitch.trace import Tracer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from conftest import Bench

HIT = bytes.fromhex("00 00000001 0050 06 0000")
MISS = bytes.fromhex("02 00000001 0050 06 0000")
REPORT = bytes.fromhex("05 00000001 0050 06 0000")

GOLDEN = """\
packet 1 at 1.500000 s, port 3: 00000000010050060000
  parser   start
  extract  request table_id=0x0 first=0x1 second=0x50 third=0x6 answer=0x0
  run      lookup99()
  if       hdr.request.isValid(): yes
  if       hdr.request.table_id == 0: yes
  table    LookupIngress.exact_t [first=0x1 second=0x50] hit: LookupIngress.metered(value=0x7)
  run      act()
  if       scalars.tmp: yes
  run      lookup105()
  if       scalars.tmp_0: no
  -> port 3: 00000000010050060007
packet 2 at 1.500000 s, port 3: 02000000010050060000
  parser   start
  extract  request table_id=0x2 first=0x1 second=0x50 third=0x6 answer=0x0
  run      lookup99()
  if       hdr.request.isValid(): yes
  if       hdr.request.table_id == 0: no
  if       hdr.request.table_id == 1: no
  if       hdr.request.table_id == 2: yes
  table    LookupIngress.ternary_t [first=0x1 second=0x50] miss: LookupIngress.drop()
  -> dropped in ingress
"""


def traced(bench: Bench, *, as_json: bool, limit: int | None = None) -> io.StringIO:
    sink = io.StringIO()
    tracer = Tracer(sink, as_json=as_json, limit=limit)
    tracer.clock = lambda: 1_500_000_000
    bench.engine.insert(
        "LookupIngress.exact_t", EntryKey((Exact(1), Exact(80))), ActionCall("LookupIngress.metered", (7,))
    )
    bench.engine.set_tracer(tracer)
    return sink


def test_text(lookup: Bench) -> None:
    sink = traced(lookup, as_json=False)
    lookup.run(3, HIT)
    lookup.run(3, MISS)
    assert sink.getvalue() == GOLDEN


def test_json_lines(lookup: Bench) -> None:
    sink = traced(lookup, as_json=True)
    lookup.run(3, HIT)
    lookup.run(3, REPORT)
    lookup.run(3, b"\x01")
    hit, report, short = map(json.loads, sink.getvalue().splitlines())
    assert (hit["packet"], hit["time_ns"], hit["port"], hit["frame"]) == (1, 1_500_000_000, 3, HIT.hex())
    assert hit["out"] == [{"port": 3, "frame": "00000000010050060007"}]
    assert {
        "table": "LookupIngress.exact_t",
        "key": {"first": 1, "second": 80},
        "hit": True,
        "entry": {"first": "0x1", "second": "0x50"},
        "action": "LookupIngress.metered",
        "args": {"value": 7},
    } in hit["steps"]
    assert {"digest": "found_t", "values": [1, 3]} in report["steps"]
    assert next(step for step in report["steps"] if step.get("table") == "LookupIngress.const_t")[
        "entry"
    ] == {
        "first": "0x1&&&0xff",
        "priority": 5,
    }
    assert {"parser_error": "PacketTooShort"} in short["steps"]
    assert (short["verdict"], short["out"]) == ("dropped", [])


def test_the_limit_ends_the_trace_but_not_the_packets(lookup: Bench) -> None:
    sink = traced(lookup, as_json=True, limit=2)
    for _ in range(5):
        assert len(lookup.run(3, HIT)) == 1
    assert len(sink.getvalue().splitlines()) == 2


def test_a_sink_that_breaks_ends_the_trace_but_not_the_packets(lookup: Bench) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    lookup.engine.set_tracer(Tracer(Full(), as_json=True))
    for _ in range(3):
        assert len(lookup.run(3, HIT)) == 1
    assert lookup.engine.faults == 0


def test_a_path_is_made_anew(lookup: Bench, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text("old\n")
    tracer = Tracer(path, as_json=True)
    lookup.engine.set_tracer(tracer)
    lookup.run(3, HIT)
    lookup.engine.set_tracer(None)
    lookup.run(3, HIT)
    tracer.close()
    assert [json.loads(line)["packet"] for line in path.read_text().splitlines()] == [1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(data=st.binary(max_size=40))
def test_a_traced_packet_fares_as_an_untraced_one(shapes: Bench, data: bytes) -> None:
    shapes.engine.set_tracer(None)
    plain = shapes.run(1, data)
    sink = io.StringIO()
    shapes.engine.set_tracer(Tracer(sink, as_json=False))
    assert shapes.run(1, data) == plain
    assert sink.getvalue().count("packet ") == 1


def test_text_shows_what_ternary_entries_say(lookup: Bench) -> None:
    sink = traced(lookup, as_json=True)
    lookup.engine.insert(
        "LookupIngress.ternary_t",
        EntryKey((Ternary(0, 0), Ternary(0x50, 0xFF)), 4),
        ActionCall("LookupIngress.answer", (1,)),
    )
    lookup.run(3, MISS)
    [record] = map(json.loads, sink.getvalue().splitlines())
    entries = [step["entry"] for step in record["steps"] if "entry" in step and step["key"]]
    assert entries == [{"first": "*", "second": "0x50&&&0xff", "priority": 4}]
