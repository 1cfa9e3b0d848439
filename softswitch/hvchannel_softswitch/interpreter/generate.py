# SPDX-License-Identifier: Apache-2.0
"""The generated function: one packet from its arrival to its end, as v1model and simple_switch have it.

    parser -> verify checksums -> ingress -> (drop?) -> egress -> (drop?) -> update checksums -> deparser ->
    send

The code is written twice: the first pass finds which fields the program looks at, the second gives a variable
to those alone (see `names`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from hvchannel_softswitch.interpreter.compile_expressions import boolean, number
from hvchannel_softswitch.interpreter.compile_parser import ParserCompiler
from hvchannel_softswitch.interpreter.compile_pipeline import PipelineCompiler
from hvchannel_softswitch.interpreter.compile_statements import StatementCompiler
from hvchannel_softswitch.interpreter.names import Names, Usage
from hvchannel_softswitch.interpreter.source import Source, mask, masked
from hvchannel_softswitch.model import Program
from hvchannel_softswitch.model.program import Checksum


def generate(program: Program, *, drop_port: int, trace: bool) -> str:
    """The source of `process(port, frame)`. It expects in its globals: `RUNTIME`'s functions, `from_bytes`,
    `now` (nanoseconds), `started` (its value at the start), `send(port, frame)`, `digests(name, values)`,
    `log_message`, `check_failed`, `random_number`, `hash_<algorithm>`, `table_<name>`, `counter_<name>`,
    `meter_<name>`, `register_<name>` and, with `trace`, `trace`."""
    usage = Usage()
    while True:
        writer = _Writer(program, usage, drop_port, trace)
        text = writer.process()
        if writer.names.found == usage:
            return text
        usage = writer.names.found


class _Writer:
    def __init__(self, program: Program, known: Usage, drop_port: int, trace: bool) -> None:
        self.names = Names(program, known)
        self._program = program
        self._out = Source()
        self._drop_port = drop_port
        self._trace = trace
        self._statements = StatementCompiler(self._out, self.names, drop_port=drop_port)

    def process(self) -> str:
        """The whole function."""
        out, program = self._out, self._program
        pipelines = PipelineCompiler(out, self.names, self._statements, trace=self._trace)
        with out.block("def process(port, frame):"):
            self._begin()
            ParserCompiler(out, self.names, self._statements, trace=self._trace).parser(program.parser)
            self._end_of_parser()
            out.line("# ingress")
            pipelines.pipeline(program.ingress)
            self._end_of_ingress()
            out.line("# egress")
            pipelines.pipeline(program.egress)
            self._drop("egress")
            self._deparse()
        return out.text()

    def _begin(self) -> None:
        out, names = self._out, self.names
        out.line("size = length = len(frame)" if names.standard("packet_length") else "size = len(frame)")
        zero = ["pos", "digest"] if self._program.learn_lists else ["pos"]
        for header in self._program.headers.values():
            if not header.metadata:
                zero.append(names.valid(header.name))
            zero += [
                v for v in names.variables(header) if not (v.startswith("r_") and not names.needs_raw(header))
            ]
        zero += [names.next_of(stack) for stack in self._program.stacks]
        for start in range(0, len(zero), 8):
            out.line(" = ".join([*zero[start : start + 8], "0"]))
        if names.truncates:
            out.line("cut = None")
        out.line(f"error = {self._program.errors['NoError']}")
        self._set("ingress_port", f"port & {mask(self._program.standard['ingress_port'].width)}")
        self._set("packet_length", "size")
        self._set_time("ingress_global_timestamp")

    def _set(self, name: str, value: str) -> None:
        variable = self.names.standard(name)
        if variable is not None:
            self._out.line(f"{variable} = {value}")

    def _set_time(self, name: str) -> None:
        if self.names.standard(name) is not None:
            self._set(name, f"(now() - started) // 1000 & {mask(self._program.standard[name].width)}")

    def _end_of_parser(self) -> None:
        if self._trace:
            with self._out.block(f"if error != {self._program.errors['NoError']}:"):
                self._out.line("trace.parser_error(error)")
        self._set("parser_error", "error")
        if not self._trace and self.names.standard("checksum_error") is None:
            return  # nobody would see the outcome
        for checksum in self._program.verify:
            target = self.names.field(checksum.target.header, checksum.target.field)
            with self._if_due(checksum, extra=self.names.valid(checksum.target.header)):
                self._statements.calculate(checksum.calculation)
                width = mask(checksum.target.width)
                with self._out.block(f"if result & {width} != {target} & {width}:"):
                    self._set("checksum_error", "1")
                    if self._trace:
                        self._out.line(f"trace.checksum_error({checksum.name!r})")

    def _if_due(self, checksum: Checksum, extra: str = "") -> AbstractContextManager[None]:
        terms = [extra] if extra else []
        if checksum.condition is not None:
            terms.append(boolean(checksum.condition, self.names))
        return self._out.block(f"if {' and '.join(terms) or 'True'}:")

    def _end_of_ingress(self) -> None:
        out, standard = self._out, self._program.standard
        if self._program.learn_lists:
            with out.block("if digest:"):
                for name, ident in self._statements.learn_ids.items():
                    with out.block(f"{'el' if ident > 1 else ''}if digest == {ident}:"):
                        learn_list = self._program.learn_lists[name]
                        pairs = zip(learn_list.elements, learn_list.widths, strict=True)
                        values = "".join(f"{masked(number(e, self.names), w)}, " for e, w in pairs)
                        out.line(f"values = ({values})")
                        if self._trace:
                            out.line(f"trace.digest({name!r}, values)")
                        out.line(f"digests({name!r}, values)")
        self._drop("ingress")
        spec = self.names.target(standard["egress_spec"].header, standard["egress_spec"].field)
        out.line(f"egress_port = {spec}")
        self._set("egress_port", "egress_port")
        # As simple_switch does: a value that is not the drop port's, so that only egress itself can drop from
        # here.
        out.line(f"{spec} = {(self._drop_port + 1) & ((1 << standard['egress_spec'].width) - 1)}")
        self._set("instance_type", "0")
        self._set("packet_length", "length")
        self._set_time("egress_global_timestamp")
        self._set_time("enq_timestamp")

    def _drop(self, stage: str) -> None:
        egress_spec = self._program.standard["egress_spec"]
        spec = self.names.field(egress_spec.header, egress_spec.field)
        with self._out.block(f"if {spec} == {self._drop_port}:"):
            if self._trace:
                self._out.line(f"trace.dropped({stage!r})")
            self._out.line("return")

    def _deparse(self) -> None:
        out, names = self._out, self.names
        for checksum in self._program.update:
            with self._if_due(checksum):
                self._statements.calculate(checksum.calculation)
                target = names.target(checksum.target.header, checksum.target.field)
                out.line(f"{target} = result & {mask(checksum.target.width)}")
        out.line("# deparser")
        out.line("out = b''")
        for name in self._program.deparse:
            header = self._program.headers[name]
            with out.block(f"if {names.valid(name)}:"):
                if names.verbatim(header.type):
                    out.line(f"out += {names.wire(name)}")
                else:
                    out.line(f"out += ({names.packed(header)}).to_bytes({header.type.width // 8})")
        out.line("out += frame[pos:]")
        if names.truncates:
            with out.block("if cut is not None:"):
                out.line("out = out[:max(cut, 0)]")
        if self._trace:
            out.line("trace.sent(egress_port, out)")
        out.line("send(egress_port, out)")
