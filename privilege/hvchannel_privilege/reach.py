# SPDX-License-Identifier: Apache-2.0
"""Whether root reaches a file as its owner, or as anybody would, or only because root may do everything."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path


def needs_override(*, writes: Iterable[Path], reads: Iterable[Path] = ()) -> Path | None:
    """For a process of root's: the first of these paths that needs CAP_DAC_OVERRIDE; None when none does. A path that
    is not there is one that will be made. For any other user None."""
    if os.geteuid() != 0:
        return None
    for path in writes:
        if not _reached(path, writing=True):
            return path
    return next((path for path in reads if not _reached(path, writing=False)), None)


def _reached(path: Path, *, writing: bool) -> bool:
    whole = Path(os.path.realpath(path))
    ways = [part for part in (*reversed(whole.parents), whole) if os.path.lexists(part)]
    *folders, end = ways
    if not all(_may(folder, stat.S_IXOTH) for folder in folders):
        return False
    folder_bits = stat.S_IXOTH | (stat.S_IWOTH if writing else stat.S_IROTH)
    return _may(end, folder_bits if end.is_dir() else stat.S_IWOTH if writing else stat.S_IROTH)


def _may(path: Path, others: int) -> bool:
    about = path.stat()
    return about.st_uid == 0 or about.st_mode & others == others
