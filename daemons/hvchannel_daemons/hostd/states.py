# SPDX-License-Identifier: Apache-2.0
"""The state machine of a VIF's session: which state may follow which, and what is remembered across them.

docs/sessions.md draws it. There is no I/O here; `link.py` moves it and writes its record to the feed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from hvchannel_daemons.feed import Session, SessionState
from hvchannel_daemons.reasons import Reason

_ENDED: Final = frozenset({SessionState.BACKOFF, SessionState.FLAPPING, SessionState.CONTENDED})

NEXT: Final = MappingProxyType(
    {
        SessionState.CONNECTING: frozenset({SessionState.NEGOTIATING}) | _ENDED,
        SessionState.NEGOTIATING: frozenset({SessionState.SYNCING}) | _ENDED,
        SessionState.SYNCING: frozenset({SessionState.READY}) | _ENDED,
        SessionState.READY: _ENDED,
        SessionState.BACKOFF: frozenset({SessionState.CONNECTING, SessionState.CONTENDED}),
        SessionState.FLAPPING: frozenset({SessionState.CONNECTING, SessionState.CONTENDED}),
        SessionState.CONTENDED: frozenset({SessionState.CONNECTING, SessionState.CONTENDED}),
    }
)
"""The states that may follow each; the first is CONNECTING or CONTENDED, any may be the last (the VIF is detached)."""


class WrongTransitionError(AssertionError):
    """A state that may not follow the present one."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why an attempt, or a session, ended."""

    code: Reason
    line: str  # for people


class Machine:
    """One VIF's, from its attachment on. `clock` gives nanoseconds of Unix time."""

    def __init__(self, vif: str, address: str, host: str, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._away = SessionState.CONNECTING, 0  # the state between attempts, and since when
        self._session = Session(
            vif=vif,
            state=SessionState.CONNECTING,
            reason="",
            since_unix_ns=clock(),
            address=address,
            host=host,
        )

    @property
    def state(self) -> SessionState:
        return self._session.state

    def record(self) -> Session:
        """As the feed is to have it."""
        return self._session

    def connecting(self) -> None:
        """Another attempt begins."""
        if self._session.attempts or self.state is not SessionState.CONNECTING:
            self._to(SessionState.CONNECTING)
        self._session = replace(self._session, attempts=self._session.attempts + 1, next_unix_ns=0)

    def negotiating(self) -> None:
        self._to(SessionState.NEGOTIATING)

    def syncing(self, version: int, agent: str) -> None:
        """There is a session."""
        self._to(SessionState.SYNCING, version=version, agent=agent, sessions=self._session.sessions + 1)

    def ready(self) -> None:
        self._to(SessionState.READY, version=self._session.version, agent=self._session.agent)

    def ended(self, ending: Ending, *, damped: bool, pause_seconds: float) -> None:
        """The attempt or the session is over; the next begins after the pause."""
        now = self._clock()
        state = SessionState.FLAPPING if damped else SessionState.BACKOFF
        if self.state is not SessionState.CONNECTING or self._away[0] is not state:
            self._away = state, now
        self._to(
            state,
            since_unix_ns=self._away[1],
            code=ending.code,
            reason=ending.line,
            error_code=ending.code,
            error=ending.line,
            error_unix_ns=now,
            next_unix_ns=now + int(pause_seconds * 1e9),
        )

    def contended(self, line: str) -> None:
        """Another hypervisor holds the VIF: there is no attempt until it lets it go."""
        self._to(SessionState.CONTENDED, code=Reason.CONTENDED, reason=line)

    def _to(self, state: SessionState, *, version: int = 0, agent: str = "", **changes: object) -> None:
        if state not in NEXT[self.state]:
            valid = ", ".join(sorted(NEXT[self.state]))
            raise WrongTransitionError(f"{self.state} is followed by {state} (valid: {valid})")
        blank = {"code": Reason.NONE, "reason": "", "since_unix_ns": self._clock(), "next_unix_ns": 0}
        told = blank | {"version": version, "agent": agent} | changes
        self._session = replace(self._session, state=state, **told)  # type: ignore[arg-type]
