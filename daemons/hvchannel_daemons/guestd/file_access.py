# SPDX-License-Identifier: Apache-2.0
"""Who may read the documents' files."""

import grp
from dataclasses import dataclass


class FilesError(Exception):
    """The directory cannot be used; one line that names it."""


def file_mode(text: str) -> int:
    """Parses "0640". Raises ValueError."""
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if mode < 0 or mode & ~0o644 or mode & 0o600 != 0o600:
        raise ValueError(f"files mode {text!r} is not valid (valid: 0600, 0640 or 0644)")
    return mode


def group_id(name: str | None) -> int | None:
    """Of a group's name or number. Raises ValueError."""
    if name is None or name.isdigit():
        return None if name is None else int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ValueError(f"files group {name!r} is not known on this machine") from None


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read the files besides guestd's user."""

    mode: int = 0o600  # of the files; folders can be entered by whoever can read
    group: int | None = None  # numeric; None: guestd's own

    @property
    def folder_mode(self) -> int:
        return self.mode | (self.mode & 0o444) >> 2
