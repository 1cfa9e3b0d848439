# SPDX-License-Identifier: Apache-2.0
"""Why a session is not, or was not, what it should be: a closed set of codes, for programs, beside the one line
for people. docs/sessions.md says of each what it means and what to do."""

import enum


class Reason(enum.StrEnum):
    """Codes are never renamed or reused. A program that reads one it does not know gets UNKNOWN."""

    NONE = ""  # there is nothing to say

    # no connection
    NO_ROUTE = "NO_ROUTE"
    NO_ARP = "NO_ARP"
    REFUSED = "REFUSED"
    TIMEOUT = "TIMEOUT"
    TLS = "TLS"

    # a connection that ended
    LOST = "LOST"
    SILENT = "SILENT"
    ACK_OVERDUE = "ACK_OVERDUE"
    GUEST_CLOSED = "GUEST_CLOSED"
    VERSION_MISMATCH = "VERSION_MISMATCH"
    PROTOCOL_ERROR = "PROTOCOL_ERROR"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"

    # not the guest's doing
    FEED_AWAY = "FEED_AWAY"
    FEED_FAILED = "FEED_FAILED"
    CONTENDED = "CONTENDED"
    DETACHED = "DETACHED"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    INTERNAL = "INTERNAL"

    UNKNOWN = "UNKNOWN"

    @classmethod
    def read(cls, text: str) -> "Reason":
        """The code that a record bears; a newer program may have written it."""
        try:
            return cls(text)
        except ValueError:
            return cls.UNKNOWN
