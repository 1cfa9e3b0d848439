# SPDX-License-Identifier: Apache-2.0
"""What a program makes use of, where that decides how its code is laid out."""

from __future__ import annotations

from collections.abc import Iterator

from hvchannel_softswitch.model import Program
from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model import statements as st

MULTICAST_GROUP = "mcast_grp"


def replicates(program: Program) -> bool:
    """Whether a packet may pass a pipeline more than once, or leave more than once: by a multicast group, a
    clone, resubmission or recirculation."""
    group = program.standard.get(MULTICAST_GROUP)
    for op in _operations(program):
        if isinstance(op, st.Clone | st.Resubmit | st.Recirculate):
            return True
        if group is not None and getattr(op, "target", None) == group and op != st.Assign(group, ex.Const(0)):
            return True
    return False


def resubmits(program: Program) -> bool:
    """Whether some action resubmits."""
    return any(isinstance(op, st.Resubmit) for op in _operations(program))


def recirculates(program: Program) -> bool:
    """Whether some action recirculates."""
    return any(isinstance(op, st.Recirculate) for op in _operations(program))


def clones(program: Program) -> bool:
    """Whether some action clones."""
    return any(isinstance(op, st.Clone) for op in _operations(program))


def _operations(program: Program) -> Iterator[st.ParserOp]:
    for state in program.parser.states.values():
        yield from state.ops
    for action in program.actions:
        yield from action.body
