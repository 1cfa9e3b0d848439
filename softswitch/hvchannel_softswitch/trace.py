# SPDX-License-Identifier: Apache-2.0
"""What happened to each packet, for people (text) and for programs (JSON lines).

One JSON object per packet and line:

    {"packet": 7,                    number of the packet in this trace, from 1
     "time_ns": 81230123456,         CLOCK_MONOTONIC at its arrival: the same clock for all switches of a
     machine "port": 2, "frame": "0266...",  where it came in, and its bytes in hexadecimal
     "steps": [...],                 what happened, in order
     "verdict": "sent" | "dropped",
     "out": [{"port": 1, "frame": "0266..."}]}   empty if dropped

and each step is one of

    {"state": "parse_ipv4"}                                              the parser entered a state
    {"extracted": "hdr.ipv4", "fields": {"ttl": 64, ...}}                numbers, all of them
    {"parser_error": "PacketTooShort"}
    {"checksum_error": "cksum_0"}                                        a verified checksum was wrong
    {"condition": "hdr.arp.isValid()", "result": true}
    {"table": "ingress.forward", "key": {"vni": 5001, ...}, "hit": true,
     "entry": {"vni": "0x1389", ..., "priority": 10}, "action": "ingress.to_port", "args": {"port": 2}}
                                                                         "entry" is null on a miss
                                    (without keys: statements of a control, which p4c wraps in a table of
                                    their own)
                                    with an action profile: "member": 3, "group": 1 (null if the entry names
                                    the member itself)
    {"digest": "spoof_digest", "values": [2, ...]}
    {"dropped": "ingress" | "egress"}                                    the pipeline that dropped it

and, of a program that replicates packets, whose copies and passes follow one another in the same trace,

    {"cloned": "ingress" | "egress", "session": 5, "to": [[port, instance], ...]}   null: no such session
    {"resubmitted": true}, {"recirculated": true}
    {"multicast": 7, "to": [[port, instance], ...]}                      the group; empty if there is none
    {"again": "resubmitted" | "recirculated", "frame": "0266..."}        such a packet enters ingress
    {"egress": 2, "instance": 0, "as": "normal" | "replica" | "ingress clone" | "egress clone"}
                                                                         a packet enters egress for a port
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import structlog

from hvchannel_softswitch.engine import (
    ActionCall,
    CloneSession,
    EntryKey,
    Exact,
    Lpm,
    Match,
    Optional,
    Range,
    Replica,
    Ternary,
)
from hvchannel_softswitch.model import Program

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which packets to trace: those for which each of `fields` (a header's field as a trace names it, or "port") has
    its value, whenever the parser extracted it. None at all: every packet."""

    fields: Mapping[str, int] = field(default_factory=dict)

    def takes(self, record: Mapping[str, Any]) -> bool:
        """Whether a packet's finished record is to be written."""
        if not self.fields:
            return True
        found: dict[str, set[int]] = {"port": {record["port"]}}
        for step in record["steps"]:
            for name, value in step.get("fields", {}).items():
                found.setdefault(f"{step['extracted']}.{name}", set()).add(value)
        return all(value in found.get(name, ()) for name, value in self.fields.items())


class Tracer:
    """Writes traces of packets to `sink`, a path (made anew) or a text file; as text, or as JSON lines.

    After `limit` packets it stops by itself, and the engine goes on at full speed.
    """

    def __init__(
        self, sink: Path | TextIO, *, as_json: bool, limit: int | None = None, only: Filter | None = None
    ) -> None:
        """`only`: packets that it does not take are left out, and do not count. Raises OSError."""
        self._only = only or Filter()
        self._file = sink.open("w", encoding="utf-8") if isinstance(sink, Path) else sink
        self._owns_file = isinstance(sink, Path)
        self._as_json = as_json
        self._limit = limit
        self._count = 0
        self._broken = False
        self._records: list[dict[str, Any]] = []
        self._program: Program | None = None
        self.clock = time.monotonic_ns

    @property
    def exhausted(self) -> bool:
        """Whether the limit is reached, or the sink cannot be written to any more."""
        return self._broken or (self._limit is not None and self._count >= self._limit)

    def attach(self, program: Program) -> None:
        """Names and fields are those of `program` from now on."""
        self._program = program

    def close(self) -> None:
        """Closes the file, if it was opened here."""
        if self._owns_file:
            self._file.close()

    def begin(self, port: int, frame: bytes, time_ns: int | None = None) -> None:
        """A packet arrives, now or at `time_ns`. One may begin while another has not ended, when a sink injects it."""
        self._records.append(
            {
                "time_ns": self.clock() if time_ns is None else time_ns,
                "port": port,
                "frame": frame.hex(),
                "steps": [],
                "verdict": "dropped",
                "out": [],
            }
        )

    def end(self) -> None:
        """The packet's way is over: its trace is written."""
        record = self._records.pop()
        if self._broken or self.exhausted or not self._only.takes(record):
            return
        self._count += 1
        record = {"packet": self._count, **record}
        try:
            self._file.write(json.dumps(record) + "\n" if self._as_json else as_text(record))
            self._file.flush()
        except OSError as error:  # a full disk, or a reader that has gone: the packets must not suffer
            self._broken = True
            log.warning("trace_write_failed", error=str(error), packets=self._count)
            return
        if self.exhausted:
            log.info("trace_limit_reached", packets=self._count)

    def _step(self, **step: Any) -> None:
        self._records[-1]["steps"].append(step)

    def state(self, name: str) -> None:
        """The parser enters a state."""
        self._step(state=name)

    def extracted(self, header: str, data: bytes) -> None:
        """The parser extracted a header from these bytes."""
        assert self._program is not None
        bits = int.from_bytes(data)
        fields = {
            f.name: bits >> f.shift & ((1 << f.width) - 1) for f in self._program.headers[header].type.fields
        }
        self._step(extracted=header, fields=fields)

    def parser_error(self, number: int) -> None:
        """The parser stopped."""
        assert self._program is not None
        name = next((name for name, known in self._program.errors.items() if known == number), str(number))
        self._step(parser_error=name)

    def checksum_error(self, name: str) -> None:
        """A verified checksum is wrong."""
        self._step(checksum_error=name)

    def condition(self, text: str, result: bool) -> None:
        """A branch was decided."""
        self._step(condition=text, result=result)

    def table(
        self,
        name: str,
        keys: tuple[str, ...],
        values: tuple[int, ...],
        hit: EntryKey | None,
        call: ActionCall,
        member: int | None = None,
        group: int | None = None,
    ) -> None:
        """A table was looked up and `call` is about to run, for the entry with the key `hit` (None: a miss); with an
        action profile, that of `member`, selected from `group`."""
        assert self._program is not None
        table = self._program.tables[name]
        known = next((action for action in table.actions if action.name == call.name), None)
        params = known.params if known else ()
        selected = {} if table.profile is None else {"member": member, "group": group}
        found: dict[str, object] | None = None
        if hit is not None:
            found = {key: show_match(match) for key, match in zip(keys, hit.matches, strict=True)}
            if table.has_priority:
                found["priority"] = hit.priority
        self._step(
            table=name,
            key=dict(zip(keys, values, strict=True)),
            hit=hit is not None,
            entry=found,
            action=call.name,
            args={param.name: value for param, value in zip(params, call.args, strict=True)},
            **selected,
        )

    def digest(self, name: str, values: tuple[int, ...]) -> None:
        """A digest is sent."""
        self._step(digest=name, values=list(values))

    def cloned(self, pipeline: str, number: int, session: CloneSession | None) -> None:
        """The packet is cloned, at the end of a pipeline."""
        to = None if session is None else [[r.port, r.instance] for r in session.replicas]
        self._step(cloned=pipeline, session=number, to=to)

    def multicast(self, group: int, replicas: tuple[Replica, ...]) -> None:
        """The packet is replicated, and ends."""
        self._step(multicast=group, to=[[r.port, r.instance] for r in replicas])

    def resubmitted(self) -> None:
        """The packet is about to run through ingress again."""
        self._step(resubmitted=True)

    def recirculated(self) -> None:
        """The packet is about to run through everything again."""
        self._step(recirculated=True)

    def again(self, instance: int, frame: bytes) -> None:
        """A resubmitted or recirculated packet enters ingress."""
        self._step(again=_INSTANCES[instance], frame=frame.hex())

    def egress(self, port: int, rid: int, instance: int) -> None:
        """A packet enters egress."""
        self._step(egress=port, instance=rid, **{"as": _INSTANCES[instance]})

    def dropped(self, pipeline: str) -> None:
        """The packet ends here."""
        self._step(dropped=pipeline)

    def sent(self, port: int, frame: bytes) -> None:
        """The packet leaves."""
        record = self._records[-1]
        record["verdict"] = "sent"
        record["out"].append({"port": port, "frame": frame.hex()})


_INSTANCES = {
    0: "normal",
    1: "ingress clone",
    2: "egress clone",
    4: "recirculated",
    5: "replica",
    6: "resubmitted",
}
"""Values of instance_type."""


def show_match(match: Match) -> str:
    """A match as people write it: 0xa000000/8, 0x6&&&0xff, 80..443, * for anything."""
    match match:
        case Exact(value=value) | Optional(value=int(value)):
            return hex(value)
        case Lpm(value=value, prefix_len=length):
            return f"{value:#x}/{length}"
        case Ternary(value=value, mask=mask):
            return f"{value:#x}&&&{mask:#x}" if mask else "*"
        case Range(low=low, high=high):
            return f"{low}..{high}"
        case Optional():
            return "*"


def as_text(record: Mapping[str, Any]) -> str:
    """A packet's trace for people, one line per step."""
    lines = [
        f"packet {record['packet']} at {record['time_ns'] / 1e9:.6f} s, "
        f"port {record['port']}: {record['frame']}"
    ]
    lines += [f"  {_step_text(step)}" for step in record["steps"] if "dropped" not in step]
    if record["verdict"] == "sent":
        lines += [f"  -> port {out['port']}: {out['frame']}" for out in record["out"]]
    else:
        where = next((step["dropped"] for step in record["steps"] if "dropped" in step), None)
        lines.append(f"  -> dropped in {where}" if where else "  -> dropped")
    return "\n".join(lines) + "\n"


def _step_text(step: Mapping[str, Any]) -> str:
    match step:
        case {"state": name}:
            return f"parser   {name}"
        case {"extracted": name, "fields": fields}:
            return f"extract  {name} {_pairs(fields)}"
        case {"parser_error": name}:
            return f"parser   error.{name}"
        case {"checksum_error": name}:
            return f"checksum {name} is wrong"
        case {"condition": text, "result": result}:
            return f"if       {text}: {'yes' if result else 'no'}"
        case {"table": name, "key": key, "hit": hit, "entry": entry, "action": action, "args": args}:
            priority = f" (priority {entry['priority']})" if entry and "priority" in entry else ""
            call = f"{action}({_pairs(args)})"
            if "member" in step and step["member"] is not None:
                of = "" if step["group"] is None else f" of group {step['group']}"
                call += f" (member {step['member']}{of})"
            if not key:  # p4c wraps statements of a control in tables without keys
                return f"run      {call}"
            return f"table    {name} [{_pairs(key)}] {'hit' + priority if hit else 'miss'}: {call}"
        case {"cloned": pipeline, "session": session, "to": to}:
            return f"clone    of {pipeline}, session {session}: {_copies(to)}"
        case {"multicast": group, "to": to}:
            return f"copy     multicast group {group}: {_copies(to)}"
        case {"resubmitted": _}:
            return "resubmit"
        case {"recirculated": _}:
            return "recirculate"
        case {"again": what, "frame": frame}:
            return f"ingress  {what}: {frame}"
        case {"egress": port, "instance": instance, "as": what}:
            return f"egress   port {port}: {what}" + (f", instance {instance}" if instance else "")
        case {"digest": name, "values": values}:
            return f"digest   {name} {values}"
        case _:
            return str(step)


def _copies(to: list[list[int]] | None) -> str:
    if to is None:
        return "not configured"
    ports = [f"port {port}" + (f" instance {rid}" if rid else "") for port, rid in to]
    return ", ".join(ports) or "nowhere"


def _pairs(values: Mapping[str, int]) -> str:
    return " ".join(f"{name}={value:#x}" for name, value in values.items())
