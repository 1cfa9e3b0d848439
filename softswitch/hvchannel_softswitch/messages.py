# SPDX-License-Identifier: Apache-2.0
"""What a P4 program says for people: log_msg, assert and assume, the same from either engine."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from hvchannel_softswitch.model import Program
from hvchannel_softswitch.model import statements as st

log = structlog.get_logger(__name__)


def messages(program: Program) -> dict[st.LogMessage | st.Check, int]:
    """All that the program can say, each with its number: the same for the same program."""
    states = (program.parser.states[name].ops for name in program.parser.order)
    bodies = [*states, *(action.body for action in program.actions)]
    found = (op for body in bodies for op in body if isinstance(op, st.LogMessage | st.Check))
    return {message: number for number, message in enumerate(dict.fromkeys(found))}


def log_message(text: str, values: Sequence[int]) -> None:
    """A log_msg: each `{}` takes the next value."""
    for value in values:
        text = text.replace("{}", str(value), 1)
    log.info(text, origin="log_msg")


def check_failed(kind: str) -> None:
    """An assert or assume whose condition did not hold."""
    log.error("check_failed", kind=kind)
