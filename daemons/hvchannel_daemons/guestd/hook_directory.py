# SPDX-License-Identifier: Apache-2.0
"""Which hooks there are: the executables of a directory, in the order of their names, as run-parts takes them.

guestd runs them with its own rights, so it takes none that somebody else could have written.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# what editors and package managers leave beside a file
_LEFT_OVER: Final = re.compile(r".*(~|\.(bak|orig|swp|dpkg-\w+|rpmsave|rpmnew|rpmorig))|\..*")


class HooksError(Exception):
    """The directory cannot be used; one line that names it."""


@dataclass(frozen=True, slots=True)
class Hook:
    path: Path
    refused: str = ""  # why it is not run


def check_directory(directory: Path) -> None:
    """Raises HooksError when it is not there, or others may write to it."""
    try:
        about = directory.stat()
    except OSError as error:
        raise HooksError(f"hooks {directory}: {error.strerror}") from error
    if not stat.S_ISDIR(about.st_mode):
        raise HooksError(f"hooks {directory}: is not a directory")
    why = _untrusted(about)
    if why:
        raise HooksError(f"hooks {directory}: {why}")


def hooks(directory: Path) -> list[Hook]:
    """By name. Raises HooksError. A file that cannot be executed is no hook; hidden files and an editor's or package
    manager's left-overs (`x~`, `x.dpkg-old`) are none either."""
    check_directory(directory)
    found = []
    for path in sorted(directory.iterdir()):
        if _LEFT_OVER.fullmatch(path.name):
            continue
        try:
            about = path.stat()
        except OSError:
            continue  # removed meanwhile, or a link to nowhere
        if stat.S_ISREG(about.st_mode) and about.st_mode & 0o111:
            found.append(Hook(path, _untrusted(about)))
    return found


def _untrusted(about: os.stat_result) -> str:
    if about.st_uid not in (0, os.geteuid()):
        return f"belongs to user {about.st_uid} (valid: root, or user {os.geteuid()} as guestd runs)"
    if about.st_mode & 0o022:
        return f"others may write to it, mode {stat.S_IMODE(about.st_mode):04o} (valid: such as 0755)"
    return ""
