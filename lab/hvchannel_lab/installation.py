# SPDX-License-Identifier: Apache-2.0
"""Where the programs are that a lab runs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def program_path(name: str) -> str:
    """A program of this installation, else of PATH. Raises FileNotFoundError."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise FileNotFoundError(
            f"program {name!r}: neither in {beside.parent} nor on PATH; install hvchannel whole"
        )
    return found
