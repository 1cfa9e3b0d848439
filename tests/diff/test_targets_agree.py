# SPDX-License-Identifier: Apache-2.0
"""softswitch does with every frame what bmv2 does: same frames out, same counters, same digests.

HVCHANNEL_DIFF_FRAMES sets how many frames go through each program (`make diff`: 100,000).
"""

import itertools
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ..traffic.frames import Choices, frame
from ..traffic.worlds import CPU_PORT, EVERYBODY, VLAN, VNI, talks
from .target import Batch, PacketOut, Target
from .worlds import world

Start = Callable[..., tuple[Target, Target]]
pytestmark = [pytest.mark.root, pytest.mark.diff]

FRAMES = int(os.environ.get("HVCHANNEL_DIFF_FRAMES", "2000"))
SETTLES_WITHIN = 5.0  # seconds, for counters of frames that leave by no port
BATCH = 48  # bmv2 queues 64 frames per port, and drops the rest
TAGS = (b"\x81\x00", b"\x88\xa8")
PROGRAMS = ("host_vswitch", "guest_vswitch")


@dataclass
class Tally:
    """What went through, for people."""

    frames: int = 0
    out: int = 0
    punted: int = 0
    digests: int = 0
    counted: int = 0
    seconds: float = 0.0
    hit: set[str] = field(default_factory=set)
    entries: int = 0

    def __str__(self) -> str:
        return (
            f"{self.frames} frames in {self.seconds:.0f} s ({self.frames / self.seconds:.0f}/s): "
            f"{self.out} frames out, "
            f"{self.punted} packet-ins, {self.digests} digests and {self.counted} counters compared, "
            f"{len(self.hit)} of {self.entries} entries hit"
        )


def compare(one: Target, other: Target, batch: Any, tally: Tally, pool: ThreadPoolExecutor) -> None:
    """Raises AssertionError that shows the first difference."""
    began = time.monotonic()
    where = f"batch into port {batch.port}: {one.kind} / {other.kind}"
    first, second = pool.map(lambda target: target.run(batch), (one, other))
    counts = one.risen(), other.risen()
    deadline = time.monotonic() + SETTLES_WITHIN
    while first == second and counts[0] != counts[1] and time.monotonic() < deadline:
        counts = one.risen(), other.risen()
    for target, risen in zip((one, other), counts, strict=True):
        target.settle(risen)
    for number in first.frames:
        same(first.frames[number], second.frames[number], f"frame out of port {number}", where)
    same(first.packet_ins, second.packet_ins, "packet-in", where)
    same(first.digests, second.digests, "digest", where)
    same(sorted(counts[0].items()), sorted(counts[1].items()), "counter", where)
    tally.seconds += time.monotonic() - began
    tally.frames += len(batch.frames)
    tally.out += sum(map(len, first.frames.values()))
    tally.punted += len(first.packet_ins)
    tally.digests += len(first.digests)
    tally.counted += len(counts[0])
    tally.hit |= counts[0].keys()


def same(first: list[Any], second: list[Any], what: str, where: str) -> None:
    """Raises AssertionError that shows the first difference, and nothing else of two long lists."""
    for place, (here, there) in enumerate(itertools.zip_longest(first, second)):
        if here != there:
            raise AssertionError(f"{what} {place}, {where}: {shown(here)} / {shown(there)}")


def shown(found: Any) -> str:
    return found.hex() if isinstance(found, bytes) else repr(found)


@st.composite
def batches(draw: st.DrawFn, program: str) -> Batch:
    """A port, and frames for it."""
    all_talks = talks(program)
    port = draw(st.sampled_from(sorted({talk.port for talk in all_talks})))
    here = [talk for talk in all_talks if talk.port == port]
    frames = []
    for entropy in draw(st.lists(st.binary(min_size=64, max_size=64), min_size=BATCH, max_size=BATCH)):
        choose = Choices(entropy)
        data = frame(choose, choose.one(here), EVERYBODY)
        if data[12:14] in TAGS:
            # With less than two bytes behind its tag Linux drops a frame before a packet socket sees it, after XDP has.
            data = data.ljust(20, b"\0")
        if port == CPU_PORT:
            identifier = VNI if program == "host_vswitch" else VLAN
            if choose.seldom():
                identifier = choose.number(3)
            data = data[: choose.byte() % 20] if choose.seldom(20) else data
            frames.append(PacketOut(identifier, data))
        else:
            frames.append(data)
    return Batch(port, tuple(frames))


def run(program: str, one: Target, other: Target, frames: int, shrink: bool = True) -> Tally:
    tally = Tally(entries=one.entries)

    @settings(
        max_examples=-(-frames // BATCH),
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(batch=batches(program))
    def whatever_comes(batch: Batch) -> None:
        compare(one, other, batch, tally, pool)

    with ThreadPoolExecutor(2) as pool:
        whatever_comes()
    return tally


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("program", PROGRAMS)
def test_softswitch_does_what_bmv2_does(
    program: str,
    both: Start,
    bmv2_is_here: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, other = both(("bmv2", "softswitch"), world(program))
    tally = run(program, one, other, FRAMES)
    with capsys.disabled():
        print(f"\n{program}: {tally}; no difference", file=sys.stderr)


def test_a_difference_in_one_entry_is_found(both: Start) -> None:
    whole = world("guest_vswitch")
    entries = tuple(
        replace(one, args=(("reason", 6),)) if one.action == "punt" else one for one in whole.entries
    )
    one, other = both(("softswitch", "softswitch"), whole, replace(whole, entries=entries))
    with pytest.raises(AssertionError, match=r"packet-in \d+, "):
        run("guest_vswitch", one, other, 50 * BATCH, shrink=False)
