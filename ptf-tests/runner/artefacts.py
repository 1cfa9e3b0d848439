# SPDX-License-Identifier: Apache-2.0
"""What the compiler made of the programs, in one architecture and another."""

from __future__ import annotations

from pathlib import Path

_COMPILED = Path(__file__).resolve().parents[2] / "p4src" / "compiled"
_FOLDERS = {"v1model": _COMPILED, "pna": _COMPILED / "pna"}


def artefacts(arch: str, program: str) -> tuple[Path, Path]:
    """P4Info, and what the switch is loaded with."""
    return _FOLDERS[arch] / f"{program}.p4info.txtpb", _FOLDERS[arch] / f"{program}.json"
