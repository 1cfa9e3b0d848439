# SPDX-License-Identifier: Apache-2.0
"""Content kept as rows of at most 256 KiB,
so that nobody ever holds a whole document in memory to read it."""

import sqlite3
from collections.abc import Iterable
from typing import IO, Final

from hvchannel_daemons.limits import PIECE_BYTES

# AUTOINCREMENT: an id is never given twice, so a reader that comes late finds nothing rather than another's
# content.
SCHEMA: Final = """
CREATE TABLE contents (id INTEGER PRIMARY KEY AUTOINCREMENT);
CREATE TABLE pieces (
  content INTEGER NOT NULL REFERENCES contents(id) ON DELETE CASCADE,
  n INTEGER NOT NULL,
  data BLOB NOT NULL,
  UNIQUE (content, n)
);
"""


class ContentGone(Exception):  # noqa: N818 - an event of normal operation, not an error
    """The content was replaced by a newer revision while it was being read."""


def write(connection: sqlite3.Connection, content: bytes | IO[bytes]) -> int:
    """Stores content (bytes, or a file read from where it stands) and returns its id."""
    row = connection.execute("INSERT INTO contents DEFAULT VALUES").lastrowid
    assert row is not None
    parts: Iterable[bytes]
    if isinstance(content, bytes):
        parts = (content[i : i + PIECE_BYTES] for i in range(0, len(content), PIECE_BYTES))
    else:
        parts = iter(lambda: content.read(PIECE_BYTES), b"")
    for n, part in enumerate(parts):
        connection.execute("INSERT INTO pieces (content, n, data) VALUES (?, ?, ?)", (row, n, part))
    return row


def read(connection: sqlite3.Connection, content: int, n: int) -> bytes:
    """The n-th piece (from 0). Raises ContentGone when there is none of that id."""
    row = connection.execute("SELECT data FROM pieces WHERE content = ? AND n = ?", (content, n)).fetchone()
    if row is None:
        raise ContentGone
    data: bytes = row[0]
    return data


def drop(connection: sqlite3.Connection, content: int | None) -> None:
    if content is not None:
        connection.execute("DELETE FROM contents WHERE id = ?", (content,))
