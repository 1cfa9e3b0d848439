# SPDX-License-Identifier: Apache-2.0
"""log_msg, assert and assume say the same on both engines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hvchannel_softswitch.model import Program, load
from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.model.program import Action, ActionCallNode
from hypothesis import HealthCheck, given, settings, strategies
from structlog.testing import capture_logs

from .engine_pair import Pair

pytestmark = pytest.mark.root

ARITHMETIC = Path(__file__).parent / "programs" / "arithmetic.json"
WIDE, SIGNED = ex.FieldRef("operands", "wide", 64), ex.FieldRef("operands", "s", 16, signed=True)
BODY = (
    st.LogMessage("{} and {}, {}", (WIDE, SIGNED, ex.Binary("-", ex.Const(0), WIDE))),
    st.LogMessage("no value but {}", ()),
    st.LogMessage("{}", (ex.Binary("<<", WIDE, ex.Const(100)),)),
    st.Check("assert", ex.Binary(">", SIGNED, ex.Const(0))),
    st.Check("assume", ex.Binary("==", ex.Binary("&", WIDE, ex.Const(1)), ex.Const(0))),
)


def saying() -> Program:
    """Says it all at the beginning of ingress, and a part of it in the parser."""
    found = load(ARITHMETIC.read_bytes())
    action, ingress = Action("say", 1 << 20, (), BODY), found.ingress
    node = ActionCallNode("say", action, ingress.first)
    pipeline = replace(
        ingress, first="say", nodes={**ingress.nodes, "say": node}, order=("say", *ingress.order)
    )
    first = found.parser.states[found.parser.order[0]]
    states = {**found.parser.states, first.name: replace(first, ops=(*first.ops, BODY[0], BODY[3]))}
    parser = replace(found.parser, states=states)
    return replace(found, ingress=pipeline, parser=parser, actions=(*found.actions, action))


@pytest.fixture(scope="module")
def both():
    pair = Pair(saying())
    yield pair
    pair.close()


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(frame=strategies.binary(min_size=0, max_size=60))
def test_what_is_said_is_the_same(both: Pair, frame: bytes) -> None:
    said = []
    for engine in (both.reference, both.compiled):
        with capture_logs() as logs:
            engine.process(1, frame)
        said.append(logs)
    assert said[0] == said[1]
    assert len(said[0]) >= 3
