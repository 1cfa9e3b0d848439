# SPDX-License-Identifier: Apache-2.0
"""A hypervisor of many VIFs, in small: two logical switches, trunks that carry a VIF of each, every process real."""

import io
import os

import pytest
from hvchannel_lab import namespaces, pinned
from hvchannel_softswitch.bpf import MapKind, XdpAction, create_map, load_program
from rich.console import Console

from bench import scale
from bench.scale import report, runs, trunk_program, usage, world
from bench.scale.hypervisor import CONTROL, GUESTS, HOSTD, SWITCH

VIFS = 4


@pytest.mark.root
def test_two_vifs_of_a_trunk_are_attached_delivered_to_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "PORTS", VIFS // 2)
    monkeypatch.setattr(runs, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(runs, "_SETTLE_SECONDS", 0.0)
    guests = [world.Guest(number, "any") for number in range(VIFS)]
    assert [(guest.port, guest.vni, guest.vlan) for guest in guests] == [
        (3, 5001, 4094),
        (4, 5001, 4094),
        (3, 5002, 4093),
        (4, 5002, 4093),
    ]
    (row,) = runs.measure(Console(file=io.StringIO()), [VIFS])
    assert row.vifs == VIFS
    assert 0 < row.attached <= row.ready
    assert row.first_document > 0
    assert row.second_document > 0
    assert set(row.usage) == {SWITCH, CONTROL, HOSTD, GUESTS}
    assert all(used.memory > 1e6 and used.descriptors > 3 for used in row.usage.values())
    printed = io.StringIO()
    report.show([row], Console(file=printed, width=150))
    assert all(name in printed.getvalue() for name in row.usage)
    mine = f"hvscale-{os.getpid()}"
    assert not [name for name in namespaces.existing() if name.startswith(mine)]
    assert mine not in pinned.names()


@pytest.mark.root
def test_the_trunks_program_takes_a_tag_off_and_puts_it_on() -> None:
    macs, rest = bytes(range(12)), b"\x08\x00" + bytes(46)
    tag = b"\x81\x00\x2f\xfe"  # VLAN 4094, with a priority
    with create_map(MapKind.HASH, 8, 8, 4, name="ways") as ways:
        ways.update(trunk_program.KEY.pack(1, 4094), trunk_program.VALUE.pack(7, 0))
        ways.update(trunk_program.KEY.pack(1, 0), trunk_program.VALUE.pack(8, 4093))
        with load_program(trunk_program.instructions(ways.fd), name="trunk") as program:
            popped = program.test_run(macs + tag + rest)
            pushed = program.test_run(macs + rest)
            unknown = program.test_run(macs + b"\x81\x00\x0f\xfd" + rest)
    assert (popped.result, popped.frame) == (XdpAction.REDIRECT, macs + rest)
    assert (pushed.result, pushed.frame) == (XdpAction.REDIRECT, macs + b"\x81\x00\x0f\xfd" + rest)
    assert unknown.result == XdpAction.DROP


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10;100", "'10;100' is not a list of numbers (such as 10,100,1000)"),
        ("10,1001", "1001 VIFs: one host vSwitch takes 1 to 1000 here"),
        ("0", "0 VIFs: one host vSwitch takes 1 to 1000 here"),
    ],
)
def test_numbers_of_vifs_that_cannot_be_are_named(text: str, said: str) -> None:
    with pytest.raises(ValueError) as refusal:
        scale.counts_of(text)
    assert str(refusal.value) == said
    assert scale.counts_of("30,10,30") == [10, 30]


def test_a_limit_of_open_files_that_is_too_low_is_said() -> None:
    with pytest.raises(OSError, match=r"needs 2000000000 open files, and the limit is \d+: ulimit -Hn"):
        usage.allow_descriptors(2_000_000_000)


def test_a_process_and_what_it_has() -> None:
    mine = usage.Usage.of(os.getpid())
    assert mine.memory > 1e6
    assert mine.descriptors >= 3
    assert mine.threads >= 1
