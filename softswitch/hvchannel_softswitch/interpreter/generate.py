# SPDX-License-Identifier: Apache-2.0
"""The generated code: one packet from its arrival to its end, as v1model and simple_switch have it.

    parser -> verify checksums -> ingress -> (drop?) -> egress -> (drop?) -> update checksums -> deparser ->
    send

is one function, `process(port, frame)`. For a program that replicates packets it is cut in two, `ingress` and
`egress`, with a queue between and around them (see `compile_traffic` and `traffic`).

The code is written twice: the first pass finds which fields the program looks at, the second gives a variable
to those alone (see `names`).
"""

from __future__ import annotations

from hvchannel_softswitch.interpreter.compile_packet import PacketCompiler
from hvchannel_softswitch.interpreter.compile_traffic import TrafficCompiler
from hvchannel_softswitch.interpreter.features import replicates
from hvchannel_softswitch.interpreter.names import Names, Usage
from hvchannel_softswitch.interpreter.source import Source
from hvchannel_softswitch.model import Program


def generate(program: Program, *, drop_port: int, trace: bool) -> str:
    """The source of `process(port, frame)`, or of `ingress` and `egress` (see `compile_traffic`). It expects in
    its globals: `RUNTIME`'s functions, `from_bytes`, `now` (nanoseconds), `started` (its value at the start),
    `send(port, frame)`, `digests(name, values)`, `log_message`, `check_failed`, `loop_stopped`,
    `random_number`, `nothing`, `groups`, `sessions`, `hash_<calculation>`, `table_<name>`, `find_<name>`,
    `counter_<name>`, `meter_<name>`, `register_<name>`, `value_set_<name>` and, with `trace`, `trace`."""
    usage = Usage()
    while True:
        out, names = Source(), Names(program, usage)
        if replicates(program):
            TrafficCompiler(PacketCompiler(out, names, drop_port, trace=trace, replicates=True)).functions()
        else:
            PacketCompiler(out, names, drop_port, trace=trace, replicates=False).process()
        if names.found == usage:
            return out.text()
        usage = names.found
