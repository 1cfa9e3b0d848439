# SPDX-License-Identifier: Apache-2.0
"""Of a program that the kernel takes on the ports, a larger build may be too much for it: that costs what the build is
for, not the program."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hvchannel_softswitch import model
from hvchannel_softswitch.p4runtime.device import SwitchDevice
from hvchannel_softswitch.p4runtime.errors import P4RuntimeError
from hvchannel_softswitch.trace import Tracer
from hvchannel_softswitch.xdp.compiled import CompiledProgram
from hvchannel_softswitch.xdp.switch import XdpSwitch
from structlog.testing import capture_logs

pytestmark = pytest.mark.root

PROGRAM = model.load((Path(__file__).parent / "programs" / "stamps.json").read_bytes())
WHY = "the kernel's verifier refuses it"


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Iterator[XdpSwitch]:
    """With a kernel that takes the plain build only."""
    build = CompiledProgram.build

    def plain_only(self: CompiledProgram, *arguments: Any, **which: Any) -> Any:
        if any(which.values()):
            raise model.UnsupportedProgram(WHY)
        return build(self, *arguments, **which)

    monkeypatch.setattr(CompiledProgram, "build", plain_only)
    made = XdpSwitch([], cpu_port=510)
    try:
        yield made
    finally:
        made.stop()


def test_a_program_that_cannot_be_traced_runs_untraced(switch: XdpSwitch) -> None:
    switch.set_tracer(Tracer(StringIO(), as_json=True))
    with capture_logs() as logs:
        switch.commit(switch.load(PROGRAM))
    assert switch.engine is not None
    assert [(entry["event"], entry["reason"]) for entry in logs if "reason" in entry] == [
        ("program_not_traced", WHY)
    ]


def test_a_packet_out_is_refused_to_its_sender(switch: XdpSwitch) -> None:
    switch.commit(switch.load(PROGRAM))
    with pytest.raises(P4RuntimeError, match=f"a packet-out cannot be run: {WHY}"):
        SwitchDevice(switch).inject(bytes(64))
