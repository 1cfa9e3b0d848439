# SPDX-License-Identifier: Apache-2.0
"""Which P4 construct each instruction comes from: kept as line numbers of a source that does not exist, in LLVM's debug
information, which stay with the instructions through all optimisation."""

from __future__ import annotations

from llvmlite import ir

from hvchannel_softswitch.xdp.lower.frame import Frame


class Notes:
    """`texts[line - 1]` is what the instructions of that line come from."""

    def __init__(self, frame: Frame) -> None:
        self.texts: list[str] = []
        module, self._b = frame.module, frame.b
        file = module.add_debug_info("DIFile", {"filename": module.name or "program", "directory": "."})
        unit = module.add_debug_info(
            "DICompileUnit",
            {
                "language": ir.DIToken("DW_LANG_C"),
                "file": file,
                "producer": "hvchannel",
                "runtimeVersion": 0,
                "isOptimized": True,
                "emissionKind": ir.DIToken("LineTablesOnly"),
            },
            is_distinct=True,
        )
        empty = module.add_metadata([])
        kind = module.add_debug_info("DISubroutineType", {"types": empty})
        self._program = module.add_debug_info(
            "DISubprogram",
            {"name": frame.function.name, "file": file, "line": 1, "type": kind, "isLocal": False, "unit": unit,
             "spFlags": ir.DIToken("DISPFlagDefinition | DISPFlagOptimized")},
            is_distinct=True,
        )  # fmt: skip
        frame.function.set_metadata("dbg", self._program)
        module.add_named_metadata("llvm.dbg.cu", unit)
        version = [ir.IntType(32)(2), "Debug Info Version", ir.IntType(32)(3)]
        module.add_named_metadata("llvm.module.flags", version)
        self._module = module

    def note(self, text: str) -> None:
        """What is written from here on comes from `text`."""
        self.texts.append(text)
        place = {"line": len(self.texts), "column": 1, "scope": self._program}
        self._b.debug_metadata = self._module.add_debug_info("DILocation", place)
