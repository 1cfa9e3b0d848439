# SPDX-License-Identifier: Apache-2.0
"""Programs for PNA, as p4c-bm2-pna writes them: programs/nic.p4 on both engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hvchannel_softswitch.engine import ActionCall, CounterData, EntryKey, Exact, MeterConfig
from hvchannel_softswitch.model import Beside, MalformedProgram, UnsupportedProgram, load
from hvchannel_softswitch.model.pna import PNA_PORT_CPU

from .engine_pair import Pair, pair

pytestmark = pytest.mark.root

CHOOSE = "NicControl.choose"
BESIDE = Beside({CHOOSE: "NicControl.chosen"}, ("NicControl.reports",))
NOT_METERED, GREEN, RED = 3, 2, 1
HEADER = 4


@pytest.fixture
def nic(program_json: Callable[[str], dict[str, Any]]) -> Iterator[Pair]:
    with pair(load(program_json("nic"), BESIDE), PNA_PORT_CPU) as both:
        yield both


def chosen(nic: Pair, kind: int, action: str, *args: int) -> EntryKey:
    """The entry by which frames of the kind have this action."""
    key = EntryKey((Exact(kind),))
    nic.insert(CHOOSE, key, ActionCall(f"NicControl.{action}", args))
    nic.flush()
    return key


def frame(kind: int) -> bytes:
    return bytes([kind]) + bytes(HEADER - 1) + b"at least as long as the kernel takes"


def sent(nic: Pair, kind: int, port: int = 3) -> list[tuple[int, int, int]]:
    """Where such a frame from the port goes: the port, the colour, and the port it came by as the program saw it."""
    return [(to, data[1], int.from_bytes(data[2:4])) for to, data in nic.process(port, frame(kind))]


def test_send_to_port(nic: Pair) -> None:
    chosen(nic, 1, "forward", 7)
    assert sent(nic, 1) == [(7, NOT_METERED, 3)]


def test_a_packet_that_nobody_sends_is_dropped(nic: Pair) -> None:
    chosen(nic, 1, "keep")
    assert sent(nic, 1) == sent(nic, 99) == []


def test_the_last_word_counts(nic: Pair) -> None:
    chosen(nic, 1, "think_again", 7)
    chosen(nic, 2, "reconsider", 7)
    assert sent(nic, 1) == []
    assert sent(nic, 2) == [(7, NOT_METERED, 3)]


def test_port_511_is_as_good_as_none(nic: Pair) -> None:
    """simple_switch's drop port; PNA's ports have 32 bits, and 511 is what is left of that limit."""
    chosen(nic, 1, "forward", 511)
    chosen(nic, 2, "forward", 512)
    assert sent(nic, 1) == []
    assert sent(nic, 2) == [(512, NOT_METERED, 3)]


def test_the_cpu_port_is_pnas(nic: Pair) -> None:
    chosen(nic, 1, "to_controller")
    assert sent(nic, 1) == [(PNA_PORT_CPU, NOT_METERED, 3)]
    assert sent(nic, 1, PNA_PORT_CPU) == [(PNA_PORT_CPU, NOT_METERED, PNA_PORT_CPU & 0xFFFF)]


def test_direct_counters_are_those_of_the_p4info(nic: Pair) -> None:
    key = chosen(nic, 1, "forward", 7)
    sent(nic, 1)
    sent(nic, 1)
    assert nic.both("read_direct_counter", CHOOSE, key) == CounterData(2, 2 * len(frame(1)))


def test_an_indexed_meter_gives_pnas_colours(nic: Pair) -> None:
    chosen(nic, 1, "police", 7)
    assert sent(nic, 1) == [(7, GREEN, 3)]
    nic.both("write_meter", "NicControl.limit", 3, MeterConfig(1, 1, 1, 1))
    nic.flush()
    assert sent(nic, 1) == [(7, RED, 3)]
    assert sent(nic, 1, port=4) == [(7, GREEN, 4)]


def test_the_parser_error_and_the_digests_name(nic: Pair) -> None:
    told: list[tuple[str, tuple[int, ...]]] = []
    short = b"\x01\x02"
    for side in nic._sides:
        side.engine.process(3, short)
        told += side.taken()[1]
    assert told == [("NicControl.reports", (3, 255))] * 2


def test_without_a_p4info_nothing_is_counted(program_json: Callable[[str], dict[str, Any]]) -> None:
    program = load(program_json("nic"))
    assert not program.tables[CHOOSE].with_counters
    assert list(program.learn_lists) == ["digest"]


def test_an_extern_that_it_has_not_is_named(program_json: Callable[[str], dict[str, Any]]) -> None:
    document = program_json("nic")
    document["extern_instances"].append({"name": "sum", "id": 9, "type": "InternetChecksum"})
    with pytest.raises(
        UnsupportedProgram, match="extern 'InternetChecksum'; supported: Meter, DirectCounter, "
    ):
        load(document)


def test_several_digests_without_names_are_refused(program_json: Callable[[str], dict[str, Any]]) -> None:
    document = program_json("nic")
    document["learn_lists"] *= 2
    with pytest.raises(UnsupportedProgram, match="2 digests of 1 names; supported: one call of pack"):
        load(document, BESIDE)


@pytest.mark.parametrize("missing", ["actions", "pipelines", "header_types"])
def test_what_is_not_as_p4c_writes_it(program_json: Callable[[str], dict[str, Any]], missing: str) -> None:
    document = program_json("nic")
    del document[missing]
    with pytest.raises(MalformedProgram):
        load(document, BESIDE)
