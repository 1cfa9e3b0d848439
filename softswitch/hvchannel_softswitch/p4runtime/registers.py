# SPDX-License-Identifier: Apache-2.0
"""Write and Read of RegisterEntry (section "RegisterEntry"): one cell, or with the index unset the whole array."""

from __future__ import annotations

from collections.abc import Iterator

from finsy.proto import p4r

from hvchannel_softswitch.p4runtime.counters_meters import cells_of, only_modify
from hvchannel_softswitch.p4runtime.errors import invalid
from hvchannel_softswitch.p4runtime.pipeline import Pipeline


def write_register(pipeline: Pipeline, kind: p4r.Update.Type.ValueType, message: p4r.RegisterEntry) -> None:
    """Sets one cell, or all of them when the index is unset."""
    register = pipeline.program.register(message.register_id)
    what = f"register {register.name!r}"
    only_modify(kind, what)
    cells = cells_of(what, register.size, message.index if message.HasField("index") else None)
    if not message.HasField("data"):
        raise invalid(f"{what}: a write needs data")
    value = register.cell.decode(message.data, what)
    for index in cells:
        pipeline.engine.write_register(register.full_name, index, value)


def read_registers(pipeline: Pipeline, wanted: p4r.RegisterEntry) -> Iterator[p4r.RegisterEntry]:
    """One cell, all cells of a register, or (id 0) all cells of all registers."""
    program, number = pipeline.program, wanted.register_id
    registers = [program.register(number)] if number else list(program.registers.values())
    for register in registers:
        index = wanted.index if number and wanted.HasField("index") else None
        for cell in cells_of(f"register {register.name!r}", register.size, index):
            data = register.cell.encode(pipeline.engine.read_register(register.full_name, cell))
            yield p4r.RegisterEntry(register_id=register.id, index=p4r.Index(index=cell), data=data)
