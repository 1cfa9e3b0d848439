# SPDX-License-Identifier: Apache-2.0
"""What a vSwitch did, told by counters and captures, is what its trace tells.

On the interpreter, at whose ports packet sockets capture: elsewhere the trace would be held against itself.
"""

import os
from pathlib import Path

import pytest
from hvchannel_lab import journey
from hvchannel_lab.accounts import Account, CounterAccount, TraceAccount
from hvchannel_lab.background import background_lab
from hvchannel_lab.capture import Capture
from hvchannel_lab.handle import Handle
from hvchannel_lab.targets import Engine
from hvchannel_lab.traces import Lookup, Record

pytestmark = [pytest.mark.root, pytest.mark.e2e]
# Their keys are not in the frame; those of the compiler's own ("tbl_...") have none.
CONST_TABLES = ("connection_guard", "verdict", "egress_verdict", "tbl_")


class Both:
    """Answers by counters, and remembers what the trace says of the same frame."""

    def __init__(self, handle: Handle, capture: Capture) -> None:
        self.by_counters, self.by_trace = CounterAccount(handle, capture), TraceAccount(handle)
        self.records: list[tuple[Record, Record]] = []

    def find(self, who: str, frame: bytes) -> tuple[Record, str] | None:
        counted, traced = self.by_counters.find(who, frame), self.by_trace.find(who, frame)
        if counted is None or traced is None:
            return None
        self.records.append((counted[0], traced[0]))
        return counted

    def missing(self, who: str) -> str:
        return self.by_counters.missing(who)

    def hit_shown_by(self, who: str, lookup: Lookup) -> str:
        return self.by_counters.hit_shown_by(who, lookup)


def test_counters_and_captures_tell_what_the_trace_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Both] = []

    def account_of(handle: Handle, capture: Capture) -> Account:
        made.append(Both(handle, capture))
        return made[-1]

    monkeypatch.setattr(journey, "account_of", account_of)
    with background_lab(f"t-lab-{os.getpid()}-acc", tmp_path / "s", 2, engine=Engine.INTERPRETER) as lab:
        journeys = journey.observe(lab)
    assert [(len(one.there), len(one.back)) for one in journeys] == [(10, 6)] * 2
    (both,) = made
    assert {record.port for record, _ in both.records} == {1, 2, 3}
    for counted, traced in both.records:
        assert counted.port == traced.port
        assert set(counted.outputs) >= set(traced.outputs)
        assert {lookup.table: lookup for lookup in counted.lookups} == {
            lookup.table: lookup for lookup in traced.lookups if not lookup.table.startswith(CONST_TABLES)
        }


def test_an_entry_that_nothing_hit_since_is_no_evidence(tmp_path: Path) -> None:
    with (
        background_lab(f"t-lab-{os.getpid()}-acn", tmp_path / "s", 1, engine=Engine.INTERPRETER) as lab,
        lab.capture() as capture,
    ):
        stray = bytes.fromhex("026876000001 0a0000000009 0800") + bytes(40)  # a source that no entry has
        account = CounterAccount(lab, capture)
        lab.send("host/hostd0", stray)
        capture.wait(lambda frame: frame.hop == "host/hostd0s" and frame.data == stray)
        lab.until(lambda: account.find("host", stray), "the frame is counted")
        found = account.find("host", stray)
        assert found is not None
        assert found[0].outputs == ()
        assert "forward" not in {lookup.table for lookup in found[0].lookups}
