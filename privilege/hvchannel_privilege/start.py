# SPDX-License-Identifier: Apache-2.0
"""What every program of the project does first: it keeps what it needs, and says so in its log."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import structlog

from hvchannel_privilege.capabilities import Capability, drop
from hvchannel_privilege.reach import needs_override

_log = structlog.get_logger(__name__)
_ITSELF = (Path(sys.prefix), Path(__file__).parent)


def give_up(
    keep: Iterable[Capability] = (), *, writes: Iterable[Path] = (), but_not_of_children: bool = False
) -> None:
    """`drop`, and root goes on reaching `writes`, the files and folders that the program will write to: where they are
    somebody else's it keeps CAP_DAC_OVERRIDE. Raises OSError."""
    kept = set(keep)
    other = needs_override(writes=writes, reads=_ITSELF)
    if other is not None:
        kept.add(Capability.DAC_OVERRIDE)
        _log.info("override_kept", note="it is somebody else's, or in a folder that is", path=str(other))
    left = drop(kept, but_not_of_children=but_not_of_children)
    _log.debug("capabilities_kept", capabilities=sorted(f"CAP_{one.name}" for one in left))
