# SPDX-License-Identifier: Apache-2.0
"""A lab with two VMs of which vm1 is hostile, on every engine that is asked for.

`make attacks ENGINE=xdp` (or interpreter) and `make attacks TARGET=bmv2` ask for one and for a long run, by
HVCHANNEL_ATTACKS; else each of softswitch's engines has a short one.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hvchannel_lab import bmv2
from hvchannel_lab.background import background_lab
from hvchannel_lab.handle import Handle
from hvchannel_lab.targets import Engine, Target

ASKED = os.environ.get("HVCHANNEL_ATTACKS", "")
"""What a long run is of; empty for short ones."""

TRACE_LIMIT = 2_000_000 if ASKED else 200_000
"""Packets per vSwitch: where one runs in the kernel its trace is what captures."""


@dataclass(frozen=True)
class Lab:
    """A lab that is up, and how much of each kind a run takes."""

    handle: Handle
    is_long: bool


@pytest.fixture(scope="session", params=[ASKED] if ASKED else [Engine.XDP, Engine.INTERPRETER])
def attacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that is up, every VM's daemon reached."""
    target = Target.BMV2 if request.param == Target.BMV2 else Target.SOFTSWITCH
    engine = Engine.AUTO if target is Target.BMV2 else Engine(request.param)
    if target is Target.BMV2 and shutil.which(bmv2.PROGRAM) is None:
        pytest.skip(f"bmv2 is not here: no {bmv2.PROGRAM} on PATH")
    state = tmp_path_factory.mktemp("attacks") / "lab"
    name = f"attacks-{os.getpid()}"
    with background_lab(name, state, 2, target=target, engine=engine, trace_limit=TRACE_LIMIT) as handle:
        yield Lab(handle, bool(ASKED))
