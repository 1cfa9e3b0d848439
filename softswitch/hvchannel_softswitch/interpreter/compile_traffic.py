# SPDX-License-Identifier: Apache-2.0
"""A program that replicates packets as two functions, with a queue of passes between and around them.

    def ingress(jobs, port, frame, instance, kept_list, kept):
        ...parser, ingress; then, in simple_switch's order: clone, digest, resubmit, multicast, drop, unicast
        jobs.append((egress, (egress_port, rid, instance, cut, kept_list, kept, state)))

    def egress(jobs, egress_port, rid, instance, limit, kept_list, kept, state):
        ...egress; then: clone, drop, deparser, recirculate, send

`state` is all variables of the packet; `kept` the values of the fields in field list `kept_list` (0: none), which
a new pass starts with; `limit` cuts a clone short. `instance` is the instance_type. A clone of ingress is
parsed anew, by `ingress`, which for it ends after the parser and returns the state.
"""

from __future__ import annotations

from hvchannel_softswitch.interpreter.compile_packet import PacketCompiler
from hvchannel_softswitch.interpreter.features import MULTICAST_GROUP, clones, recirculates, resubmits
from hvchannel_softswitch.interpreter.traffic import (
    EGRESS_CLONE,
    INGRESS_CLONE,
    NORMAL,
    RECIRCULATED,
    REPLICATED,
    RESUBMITTED,
)
from hvchannel_softswitch.model.program import FieldList


class TrafficCompiler:
    """Writes the two functions from a packet's stages."""

    def __init__(self, packet: PacketCompiler) -> None:
        self._packet = packet
        self._out = packet.out
        self._names = packet.names
        self._program = packet.program
        self._clones = clones(self._program)
        self._recirculates = recirculates(self._program)
        self._resubmits = resubmits(self._program)

    def functions(self) -> None:
        """Both functions."""
        with self._out.block("def ingress(jobs, port, frame, instance, kept_list, kept):"):
            self._ingress()
        with self._out.block("def egress(jobs, egress_port, rid, instance, limit, kept_list, kept, state):"):
            self._egress()

    def _ingress(self) -> None:
        packet, out = self._packet, self._out
        packet.begin()
        self._trace("again(instance, frame)", when=f"instance >= {RECIRCULATED}")
        # simple_switch clears all metadata for another pass, but parses a clone with its ingress port.
        with out.block(f"if instance > {INGRESS_CLONE}:"):
            packet.set("ingress_port", "0")
            packet.set("instance_type", "instance")
            packet.set("ingress_global_timestamp", "0")
            self._restore()
        out.line("clone = -1")
        out.line("clone_list = resubmit = recirculate = 0")
        packet.parse()
        with out.block(f"if instance == {INGRESS_CLONE}:"):
            out.line(f"return {self._state()}")
        packet.end_of_parser()
        packet.ingress()
        if self._clones:
            with out.block("if clone >= 0:"):
                self._keep("clone_list")
                out.line("session = sessions.get(clone)")
                self._trace("cloned('ingress', clone, session)")
                with out.block("if session is not None:"):
                    out.line(f"copy = ingress(jobs, port, frame, {INGRESS_CLONE}, 0, ())")
                    self._copies(INGRESS_CLONE, "copy")
        packet.digest()
        if self._resubmits:
            with out.block("if resubmit:"):
                self._keep("resubmit")
                self._trace("resubmitted()")
                out.line(f"jobs.append((ingress, (port, frame, {RESUBMITTED}, resubmit, kept)))")
                out.line("return")
        self._multicast()
        packet.drop("ingress")
        spec = self._program.standard["egress_spec"]
        port = self._names.field(spec.header, spec.field)
        out.line(f"jobs.append((egress, ({port}, 0, {NORMAL}, None, 0, (), {self._state()})))")

    def _multicast(self) -> None:
        out, group = self._out, self._program.standard.get(MULTICAST_GROUP)
        if group is None:
            return
        number = self._names.field(group.header, group.field)
        with out.block(f"if {number}:"):
            out.line(f"replicas = groups.get({number}, ())")
            self._trace(f"multicast({number}, replicas)")
            out.line(f"state = {self._state()}")
            with out.block("for replica in replicas:"):
                arguments = f"replica.port, replica.instance, {REPLICATED}, None, 0, (), state"
                out.line(f"jobs.append((egress, ({arguments})))")
            out.line("return")

    def _egress(self) -> None:
        packet, out, names = self._packet, self._out, self._names
        out.line(f"{self._state()} = state")
        names.found.truncates = names.found.truncates or self._clones
        if names.truncates:
            with out.block("if limit is not None:"):
                out.line("cut = shorter(cut, limit)")
        if self._clones:
            with out.block(f"if {INGRESS_CLONE} <= instance <= {EGRESS_CLONE}:"):
                packet.zero(self._metadata())
                self._restore()
        out.line("clone = -1")
        out.line("clone_list = resubmit = recirculate = 0")
        packet.begin_egress("instance")
        packet.set("egress_rid", "rid")
        self._trace("egress(egress_port, rid, instance)")
        packet.egress()
        if self._clones:
            with out.block("if clone >= 0:"):
                self._keep("clone_list")
                out.line("session = sessions.get(clone)")
                self._trace("cloned('egress', clone, session)")
                with out.block("if session is not None:"):
                    self._copies(EGRESS_CLONE, self._state())
        packet.drop("egress")
        packet.update_checksums()
        packet.deparse()
        if self._recirculates:
            with out.block("if recirculate:"):
                self._keep("recirculate")
                self._trace("recirculated()")
                out.line(f"jobs.append((ingress, (0, out, {RECIRCULATED}, recirculate, kept)))")
                out.line("return")
        packet.send()

    def _copies(self, instance: int, state: str) -> None:
        out = self._out
        out.line(f"state = {state}")
        with out.block("for replica in session.replicas:"):
            first = f"replica.port, replica.instance, {instance}, session.packet_length or None"
            out.line(f"jobs.append((egress, ({first}, clone_list, kept, state)))")

    def _state(self) -> str:
        length = ["length"] if self._names.standard("packet_length") else []
        cut = ["cut"] if self._names.truncates else []
        return f"({', '.join(['frame', 'size', 'pos', *length, *cut, *self._names.state()])})"

    def _metadata(self) -> list[str]:
        headers = [header for header in self._program.headers.values() if header.metadata]
        return [variable for header in headers for variable in self._names.variables(header)]

    def _lists(self) -> list[FieldList]:
        return [kept for kept in self._program.field_lists.values() if kept.fields]

    def _keep(self, chosen: str) -> None:
        """The values of the chosen field list to `kept`."""
        self._out.line("kept = ()")
        for number, kept in enumerate(self._lists()):
            with self._out.block(f"{'el' if number else ''}if {chosen} == {kept.id}:"):
                values = ", ".join(self._names.field(f.header, f.field) for f in kept.fields)
                self._out.line(f"kept = ({values},)")

    def _restore(self) -> None:
        """The fields of `kept_list` from `kept`."""
        for number, kept in enumerate(self._lists()):
            with self._out.block(f"{'el' if number else ''}if kept_list == {kept.id}:"):
                values = ", ".join(self._names.target(f.header, f.field) for f in kept.fields)
                self._out.line(f"({values},) = kept")

    def _trace(self, call: str, when: str | None = None) -> None:
        if not self._packet.trace:
            return
        if when is None:
            self._out.line(f"trace.{call}")
            return
        with self._out.block(f"if {when}:"):
            self._out.line(f"trace.{call}")
