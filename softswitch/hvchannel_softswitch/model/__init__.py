# SPDX-License-Identifier: Apache-2.0
"""The program that a switch runs: a typed, immutable model of the bmv2 JSON that p4c emits (format 2.x).

    program = load(pathlib.Path("program.json").read_bytes())
    table = program.tables["ingress.forward"]
    [(key.name, key.width, key.kind) for key in table.keys], [action.name for action in table.actions]

`load` is the only way in and checks everything: what it lets through, an engine can run. It refuses, each
time with the place and what would do, what simple_switch (v1model) does not have: extern objects, primitives in the
deparser, architectures other than v1model and PNA.
"""

from hvchannel_softswitch.model.errors import MalformedProgram, ProgramError, UnsupportedProgram
from hvchannel_softswitch.model.load import load
from hvchannel_softswitch.model.pna import Beside
from hvchannel_softswitch.model.program import (
    Action,
    ActionProfile,
    Counter,
    LearnList,
    MatchKind,
    Meter,
    MeterUnit,
    Param,
    Pipeline,
    Program,
    Register,
    Table,
    TableKey,
    ValueSet,
)

__all__ = [
    "Action",
    "ActionProfile",
    "Beside",
    "Counter",
    "LearnList",
    "MalformedProgram",
    "MatchKind",
    "Meter",
    "MeterUnit",
    "Param",
    "Pipeline",
    "Program",
    "ProgramError",
    "Register",
    "Table",
    "TableKey",
    "UnsupportedProgram",
    "ValueSet",
    "load",
]
