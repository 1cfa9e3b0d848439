# SPDX-License-Identifier: Apache-2.0
"""A store that does not hold what was written to it: found when guestd starts, and set aside, for the feed has all of
it and sends it again. What is lost is what only this store knew: reports that were not delivered, and which hooks have
run.
"""

import contextlib
import hashlib
import os
import sqlite3
from pathlib import Path
from typing import Final

from hvchannel_daemons.storage.database import connect, is_damage

ASIDE: Final = ".damaged"
_JOURNALS: Final = ("-wal", "-shm")


def set_aside(path: Path) -> str:
    """Renames a damaged store, in place of an earlier one; what is wrong with it, empty when nothing is. The caller
    holds the directory. Raises OSError; sqlite3.Error for what is no damage: a disk that is full, or cannot be read."""
    if not path.exists():
        return ""
    wrong = _wrong(path)
    if wrong:
        for journal in ("", *_JOURNALS):
            aside = path.with_name(path.name + ASIDE + journal)
            aside.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + journal).rename(aside)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    return wrong


def _wrong(path: Path) -> str:
    try:
        connection = connect(path)
        try:
            said: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            return said.replace("\n", " ") if said != "ok" else _wrong_content(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return str(error)


def _wrong_content(connection: sqlite3.Connection) -> str:
    """Whether a document is not the one whose digest was stored with it: a check of SQLite's does not look there."""
    if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
        return ""  # nothing was ever stored
    query = "SELECT key, sha256, size, content FROM documents WHERE NOT deleted"
    for key, sha256, size, content in connection.execute(query):
        digest, found = hashlib.sha256(), 0
        for (data,) in connection.execute("SELECT data FROM pieces WHERE content = ? ORDER BY n", (content,)):
            digest.update(data)
            found += len(data)
        if (digest.digest(), found) != (sha256, size):
            return f"document {key} is not what was stored"
    return ""
