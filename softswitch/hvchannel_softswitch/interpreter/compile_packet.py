# SPDX-License-Identifier: Apache-2.0
"""The stages of a packet's way, one method each, in the order in which it passes them."""

from __future__ import annotations

from contextlib import AbstractContextManager

from hvchannel_softswitch.interpreter.compile_expressions import boolean, number
from hvchannel_softswitch.interpreter.compile_parser import ParserCompiler
from hvchannel_softswitch.interpreter.compile_pipeline import PipelineCompiler
from hvchannel_softswitch.interpreter.compile_statements import StatementCompiler
from hvchannel_softswitch.interpreter.names import Names
from hvchannel_softswitch.interpreter.source import Source, mask, masked
from hvchannel_softswitch.model.program import Checksum


class PacketCompiler:
    """Writes the stages of a packet's way."""

    def __init__(self, out: Source, names: Names, drop_port: int, *, trace: bool, replicates: bool) -> None:
        self.out = out
        self.names = names
        self.program = names.program
        self.trace = trace
        self._drop_port = drop_port
        self._statements = StatementCompiler(out, names, drop_port=drop_port, replicates=replicates)
        self._parser = ParserCompiler(out, names, self._statements, trace=trace)
        self._pipelines = PipelineCompiler(out, names, self._statements, trace=trace)

    def process(self) -> None:
        """The whole function, of a program that does not replicate."""
        with self.out.block("def process(port, frame):"):
            self.begin()
            self.parse()
            self.end_of_parser()
            self.ingress()
            self.digest()
            self.drop("ingress")
            spec = self.program.standard["egress_spec"]
            self.out.line(f"egress_port = {self.names.field(spec.header, spec.field)}")
            self.begin_egress("0")
            self.egress()
            self.drop("egress")
            self.update_checksums()
            self.deparse()
            self.send()

    def parse(self) -> None:
        """The parser."""
        self._parser.parser(self.program.parser)

    def ingress(self) -> None:
        """The ingress pipeline."""
        self.out.line("# ingress")
        self._pipelines.pipeline(self.program.ingress)

    def egress(self) -> None:
        """The egress pipeline."""
        self.out.line("# egress")
        self._pipelines.pipeline(self.program.egress)

    def begin(self) -> None:
        """Variables and metadata of a frame that arrives."""
        out, names = self.out, self.names
        out.line("size = length = len(frame)" if names.standard("packet_length") else "size = len(frame)")
        zero = ["pos", "digest"] if self.program.learn_lists else ["pos"]
        self.zero([*zero, *names.state()])
        if names.truncates:
            out.line("cut = None")
        out.line(f"error = {self.program.errors['NoError']}")
        self.set("ingress_port", f"port & {mask(self.program.standard['ingress_port'].width)}")
        self.set("packet_length", "size")
        self._set_time("ingress_global_timestamp")

    def zero(self, variables: list[str]) -> None:
        """All of the variables to zero."""
        for start in range(0, len(variables), 8):
            self.out.line(" = ".join([*variables[start : start + 8], "0"]))

    def set(self, name: str, value: str) -> None:
        """A standard metadata field, if the program has a use for it."""
        variable = self.names.standard(name)
        if variable is not None:
            self.out.line(f"{variable} = {value}")

    def _set_time(self, name: str) -> None:
        if self.names.standard(name) is not None:
            self.set(name, f"(now() - started) // 1000 & {mask(self.program.standard[name].width)}")

    def end_of_parser(self) -> None:
        """What the parser leaves, and the checksums to verify."""
        if self.trace:
            with self.out.block(f"if error != {self.program.errors['NoError']}:"):
                self.out.line("trace.parser_error(error)")
        self.set("parser_error", "error")
        if not self.trace and self.names.standard("checksum_error") is None:
            return  # nobody would see the outcome
        for checksum in self.program.verify:
            target = self.names.field(checksum.target.header, checksum.target.field)
            with self._if_due(checksum, extra=self.names.valid(checksum.target.header)):
                self._statements.calculate(checksum.calculation)
                width = mask(checksum.target.width)
                with self.out.block(f"if result & {width} != {target} & {width}:"):
                    self.set("checksum_error", "1")
                    if self.trace:
                        self.out.line(f"trace.checksum_error({checksum.name!r})")

    def _if_due(self, checksum: Checksum, extra: str = "") -> AbstractContextManager[None]:
        terms = [extra] if extra else []
        if checksum.condition is not None:
            terms.append(boolean(checksum.condition, self.names))
        return self.out.block(f"if {' and '.join(terms) or 'True'}:")

    def digest(self) -> None:
        """The digest that ingress asked for, with the values its fields have now."""
        out = self.out
        if not self.program.learn_lists:
            return
        with out.block("if digest:"):
            for name, ident in self._statements.learn_ids.items():
                with out.block(f"{'el' if ident > 1 else ''}if digest == {ident}:"):
                    learn_list = self.program.learn_lists[name]
                    pairs = zip(learn_list.elements, learn_list.widths, strict=True)
                    values = "".join(f"{masked(number(e, self.names), w)}, " for e, w in pairs)
                    out.line(f"values = ({values})")
                    if self.trace:
                        out.line(f"trace.digest({name!r}, values)")
                    out.line(f"digests({name!r}, values)")

    def begin_egress(self, instance_type: str) -> None:
        """The metadata of a packet that enters egress for `egress_port`."""
        egress_spec = self.program.standard["egress_spec"]
        spec = self.names.target(egress_spec.header, egress_spec.field)
        self.set("egress_port", "egress_port")
        # As simple_switch does: a value that is not the drop port's, so that only egress itself can drop from
        # here.
        self.out.line(f"{spec} = {(self._drop_port + 1) & ((1 << egress_spec.width) - 1)}")
        self.set("instance_type", instance_type)
        self.set("packet_length", "length")
        self._set_time("egress_global_timestamp")
        self._set_time("enq_timestamp")

    def drop(self, stage: str) -> None:
        """Ends the packet if egress_spec says so."""
        egress_spec = self.program.standard["egress_spec"]
        spec = self.names.field(egress_spec.header, egress_spec.field)
        with self.out.block(f"if {spec} == {self._drop_port}:"):
            if self.trace:
                self.out.line(f"trace.dropped({stage!r})")
            self.out.line("return")

    def update_checksums(self) -> None:
        """The checksums to update."""
        for checksum in self.program.update:
            with self._if_due(checksum):
                self._statements.calculate(checksum.calculation)
                target = self.names.target(checksum.target.header, checksum.target.field)
                self.out.line(f"{target} = result & {mask(checksum.target.width)}")

    def deparse(self) -> None:
        """The frame that goes out, in `out`."""
        out, names = self.out, self.names
        out.line("# deparser")
        out.line("out = b''")
        for name in self.program.deparse:
            header = self.program.headers[name]
            with out.block(f"if {names.valid(name)}:"):
                if names.verbatim(header.type):
                    out.line(f"out += {names.wire(name)}")
                else:
                    out.line(f"out += ({names.packed(header)}).to_bytes({names.octets(header)})")
        out.line("out += frame[pos:]")
        if names.truncates:
            with out.block("if cut is not None:"):
                out.line("out = out[:max(cut, 0)]")

    def send(self) -> None:
        """Hands `out` to the port."""
        if self.trace:
            self.out.line("trace.sent(egress_port, out)")
        self.out.line("send(egress_port, out)")
