# SPDX-License-Identifier: Apache-2.0
"""What the program tells and nobody reads in time is lost, and counted."""

from pathlib import Path

import pytest
from hvchannel_softswitch.model import load
from hvchannel_softswitch.xdp.frames import CompiledEngine

pytestmark = pytest.mark.root

PROGRAM = Path(__file__).parent / "programs" / "arithmetic.json"
FRAME = bytes(3000)  # for its copies there is room of 16 KiB
MOST = 10_000


def test_every_record_is_read_or_counted_as_lost() -> None:
    engine = CompiledEngine(
        load(PROGRAM.read_bytes()), frames=lambda *_: None, digests=lambda *_: None, drop_port=511
    )
    try:
        engine.compiled.probe(1, FRAME, 0, trace=True)
        per_frame = len(engine.compiled.ring.read(MOST))
        assert per_frame > 1
        assert engine.lost_records == 0
        frames = 0
        while engine.lost_records < 3 * per_frame:
            assert frames < MOST
            engine.compiled.probe(1, FRAME, 0, trace=True)
            frames += 1
        lost = engine.lost_records
        read = 0
        while records := engine.compiled.ring.read(MOST):
            read += len(records)
        assert read + lost == frames * per_frame
        engine.compiled.probe(1, FRAME, 0, trace=True)
        assert len(engine.compiled.ring.read(MOST)) == per_frame
        assert engine.lost_records == lost
    finally:
        engine.close()
