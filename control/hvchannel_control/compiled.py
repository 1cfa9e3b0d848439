# SPDX-License-Identifier: Apache-2.0
"""Where the compiled P4 programs are: beside this package in a wheel, in p4src/compiled in a checkout."""

from dataclasses import dataclass
from pathlib import Path

from hvchannel_control.config import ConfigError

_PACKAGE = Path(__file__).parent
_FOLDERS = (_PACKAGE / "compiled", _PACKAGE.parent.parent / "p4src" / "compiled")


@dataclass(frozen=True, slots=True)
class CompiledProgram:
    """What p4c made of one program."""

    p4info: Path
    device_config: Path


def find_program(name: str, folder: Path | None = None, below: str = "") -> CompiledProgram:
    """The artefacts of the program `name`, in `folder`, or where they came with this package, in the folder `below`.

    Raises ConfigError that names each place where they are not.
    """
    folders = tuple(place / below for place in _FOLDERS) if folder is None else (folder,)
    for candidate in folders:
        program = CompiledProgram(candidate / f"{name}.p4info.txtpb", candidate / f"{name}.json")
        if program.p4info.is_file() and program.device_config.is_file():
            return program
    places = " or ".join(str(place) for place in folders)
    raise ConfigError(f"there is no {name}.json with {name}.p4info.txtpb in {places}")
