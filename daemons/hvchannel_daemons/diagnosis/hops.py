# SPDX-License-Identifier: Apache-2.0
"""What a diagnosis consists of."""

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    OK = "ok"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Hop:
    """One part on the way of a document. `evidence`: what was found, one line. `remedy`: of one that is broken, what
    to do, with the command."""

    name: str
    state: State
    evidence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The hops in the order in which a document passes them."""

    vif: str
    hops: tuple[Hop, ...]

    @property
    def broken(self) -> Hop | None:
        """The first one that is."""
        return next((hop for hop in self.hops if hop.state is State.BROKEN), None)

    @property
    def healthy(self) -> bool:
        """Nothing is broken, and nothing that matters is unknown: the last hop vouches for those before it."""
        return self.broken is None and self.hops[-1].state is State.OK


def ok(name: str, evidence: str) -> Hop:
    return Hop(name, State.OK, evidence)


def broken(name: str, evidence: str, remedy: str) -> Hop:
    return Hop(name, State.BROKEN, evidence, remedy)


def unknown(name: str, evidence: str) -> Hop:
    return Hop(name, State.UNKNOWN, evidence)
