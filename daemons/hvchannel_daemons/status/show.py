# SPDX-License-Identifier: Apache-2.0
"""An overview for people, as a table, and for programs, as JSON."""

import time
from typing import Any, Final

from hvchannel_control.api import control_pb2 as pb
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hvchannel_daemons.command_output import ago, report_object, time_of
from hvchannel_daemons.feed import Delivery, Session, SessionState
from hvchannel_daemons.status.overview import Overview, Row

_GOOD, _BAD = "green", "bold red"

_LINKS: Final = {
    pb.Link.UP: "up",
    pb.Link.DOWN: "down",
    pb.Link.NO_CARRIER: "no carrier",
    pb.Link.ABSENT: "absent",
    pb.Link.NO_PORT: "no port",
}


def link_word(vif: pb.Vif | None) -> str:
    """Of the VNIC; "?" where nobody knows."""
    return _LINKS.get(vif.link.state, "?") if vif is not None else "?"


def switch_word(overview: Overview, row: Row) -> str:
    """Whether the tables hold the VIF."""
    if row.switch is None or row.attached is None:
        return "-" if overview.switches else "?"
    if not row.switch.switch_connected:
        return "disconnected"
    return "in sync" if row.attached.state == pb.Vif.REALISED else "pending"


def table(overview: Overview) -> RenderableType:
    columns = ("VIF", "host", "link", "switch", "LIP", "session", "since", "documents", "lag", "last error")
    shown = Table(*columns, box=SIMPLE_HEAD)
    for row in overview.rows:
        shown.add_row(*_cells(overview, row))
    below = [Text(f"not known: {line}", style=_BAD) for line in overview.missing]
    gone = sorted({row.host for row in overview.rows if row.owner and not row.owner.alive})
    below += [Text(f"hostd of {host} is not running", style=_BAD) for host in gone]
    return Group(shown, *below)


def _cells(overview: Overview, row: Row) -> list[str | Text]:
    session, link, switch = row.session, link_word(row.attached), switch_word(overview, row)
    return [
        row.vif,
        _host(row),
        _coloured(link, "up"),
        _coloured(switch, "in sync"),
        (row.attached.lip if row.attached else "") or "-",
        _session(overview, row),
        ago(session.since_unix_ns) if session and row.served else "",
        _documents(row),
        f"{row.lag_seconds:.0f} s" if row.pending else "",
        _last_error(row),
    ]


def _host(row: Row) -> str:
    also = f" (also at {', '.join(row.contenders)})" if row.contenders else ""
    return f"{row.host}{also}" or "-"


def _coloured(word: str, good: str) -> Text:
    return Text(word, style=_GOOD if word == good else "" if word in "?-" else _BAD)


def _session(overview: Overview, row: Row) -> Text:
    state, session = overview.state(row), row.session
    if state == SessionState.READY:
        return Text(state, style=_GOOD)
    if session is None or not row.served:
        return Text(state, style="" if state == "DETACHED" else _BAD)
    wait = max(0, session.next_unix_ns / 1e9 - time.time()) if state == SessionState.FLAPPING else 0
    rest = f", next attempt in {wait:.0f} s" if wait else ""
    return Text(f"{state} {session.code}".rstrip() + rest, style=_BAD if session.code else "")


def _documents(row: Row) -> str:
    rejected = f", {len(row.errors)} not taken" if row.errors else ""
    return f"{row.acknowledged} of {row.wanted}{rejected}" if row.deliveries else "-"


def _last_error(row: Row) -> str:
    if row.session is None or not row.session.error_unix_ns:
        return next(iter(row.errors.values()), "")
    return f"{row.session.error_code} {ago(row.session.error_unix_ns)}: {row.session.error}"


def as_json(overview: Overview) -> dict[str, Any]:
    """Documented in docs/status.md."""
    return {
        "well": overview.well,
        "missing": list(overview.missing),
        "switches": [
            {
                "controller": socket,
                "connected": status.switch_connected,
                "in_sync": status.in_sync,
                "last_error": status.last_error,
                "leases_used": status.leases_used,
                "leases_total": status.leases_total,
            }
            for socket, status in overview.switches.items()
        ],
        "vifs": [_row_object(overview, row) for row in overview.rows],
    }


def _row_object(overview: Overview, row: Row) -> dict[str, Any]:
    attached = row.attached
    return {
        "vif": row.vif,
        "host": row.host,
        "served": row.served,
        "contenders": list(row.contenders),
        "link": link_word(attached),
        "interface": attached.link.interface if attached else "",
        "switch": switch_word(overview, row),
        "lip": attached.lip if attached else "",
        "state": overview.state(row),
        "session": _session_object(row.session) if row.session else None,
        "documents": row.wanted,
        "acknowledged": row.acknowledged,
        "pending": [_pending_object(delivery) for delivery in row.pending],
        "lag_seconds": round(row.lag_seconds, 3),
        "errors": row.errors,
        "last_report": report_object(row.last_report) if row.last_report else None,
    }


def _pending_object(delivery: Delivery) -> dict[str, Any]:
    document = delivery.document
    return {
        "key": document.key,
        "desired": document.revision,
        "acknowledged": delivery.acknowledged,
        "deleted": document.deleted,
        "put": time_of(document.put_unix_ns),
        "error": delivery.error,
    }


def _session_object(session: Session) -> dict[str, Any]:
    """As the feed has it: where no hostd runs, this is the past."""
    return {
        "state": session.state.value,
        "code": session.code.value,
        "reason": session.reason,
        "since": time_of(session.since_unix_ns),
        "address": session.address,
        "version": session.version,
        "agent": session.agent,
        "attempts": session.attempts,
        "sessions": session.sessions,
        "next_attempt": time_of(session.next_unix_ns) if session.next_unix_ns else None,
        "last_error": {
            "code": session.error_code.value,
            "reason": session.error,
            "at": time_of(session.error_unix_ns),
        }
        if session.error_unix_ns
        else None,
    }
