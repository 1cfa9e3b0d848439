# SPDX-License-Identifier: Apache-2.0
"""Attachments and leases on disk: one SQLite file, right after a kill -9 or a power cut at any time."""

import sqlite3
from ipaddress import IPv4Address
from pathlib import Path

from hvchannel_control.vif import Vif

_SCHEMA_VERSION = 2
_LEASES = """
CREATE TABLE lease (
    vif_id TEXT PRIMARY KEY,
    lip TEXT NOT NULL UNIQUE
) STRICT, WITHOUT ROWID
"""
_ATTACHMENTS = """
CREATE TABLE attachment (
    vif_id TEXT PRIMARY KEY REFERENCES lease (vif_id),
    mac TEXT NOT NULL UNIQUE,
    port INTEGER NOT NULL,
    vlan INTEGER NOT NULL,
    vni INTEGER NOT NULL,
    UNIQUE (port, vlan),
    UNIQUE (port, vni)
) STRICT, WITHOUT ROWID
"""
_NEW = (_LEASES, _ATTACHMENTS)
# Version 1 had one VIF per port, and one logical switch.
_FROM_1 = (
    "ALTER TABLE attachment RENAME TO before",
    _ATTACHMENTS,
    "INSERT INTO attachment (vif_id, mac, port, vlan, vni) SELECT vif_id, mac, port, vlan, 0 FROM before",
    "DROP TABLE before",
)


_UNREADABLE = (UnicodeDecodeError, MemoryError)
"""What Python raises where SQLite's words for the damage are damaged too, or a damaged size is beyond all memory."""


class StoreError(Exception):
    """The file cannot be used; the text is one line that names it."""


class Store:
    """The open file. One process at a time: a second one is refused.

    A VIF of the default logical switch is kept with VNI 0: it stays on that switch when the configuration gives it
    another VNI.

    Every method that changes something returns when the change is on disk, and raises StoreError when it is
    not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._used = path.with_name(path.name + "-in-use")
        """Is there from the store's first use on, so that one that comes back empty is not taken for a new one."""
        try:
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=0.5)
            self._prepare()
            self._used.touch(mode=0o600)
        except (sqlite3.Error, OSError, *_UNREADABLE) as error:
            if hasattr(self, "_db"):
                self._db.close()
            raise StoreError(f"{path}: {_cause(error)}{self._remedy(error)}") from error

    def _remedy(self, error: Exception) -> str:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (
            sqlite3.SQLITE_CORRUPT,
            sqlite3.SQLITE_NOTADB,
        ):
            return ""
        return (
            f": put a copy of it back; or, to begin without attachments and leases, remove {self._path}*, then attach "
            "every VIF"
        )

    def _prepare(self) -> None:
        # EXCLUSIVE holds the file's lock until close or death; it must be set before WAL to do without shared
        # memory.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("BEGIN EXCLUSIVE")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0 and self._used.exists():
            raise _damaged("it is empty, and was in use before")
        (said,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise _damaged(" ".join(said.split()))
        for statement in {0: _NEW, 1: _FROM_1}.get(version, ()):
            self._db.execute(statement)
        if version < _SCHEMA_VERSION:
            self._db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        self._db.execute("COMMIT")
        if version > _SCHEMA_VERSION:
            raise StoreError(
                f"{self._path}: schema version {version} is newer than {_SCHEMA_VERSION}, the newest this one reads"
            )

    def vifs(self) -> list[Vif]:
        """All attachments, by VIF id. Raises StoreError when the file is damaged."""
        try:
            rows = self._db.execute(
                "SELECT vif_id, mac, port, vlan, lip, vni FROM attachment JOIN lease USING (vif_id) ORDER BY vif_id"
            )
            return [
                Vif(vif_id, mac, port, vlan, IPv4Address(lip), vni)
                for vif_id, mac, port, vlan, lip, vni in rows
            ]
        except (sqlite3.Error, ValueError, MemoryError) as error:  # a LIP that is none, what is no UTF-8
            raise StoreError(f"{self._path}: damaged: {_cause(error)}") from error

    def attach(self, vif: Vif) -> None:
        """Keeps an attachment and its lease."""
        self._change(
            ("INSERT INTO lease (vif_id, lip) VALUES (?, ?)", (vif.vif_id, str(vif.lip))),
            (
                "INSERT INTO attachment (vif_id, mac, port, vlan, vni) VALUES (?, ?, ?, ?, ?)",
                (vif.vif_id, vif.mac, vif.port, vif.vlan, vif.vni),
            ),
        )

    def move(self, vif_id: str, lip: IPv4Address) -> None:
        """Changes the lease of a VIF to another LIP."""
        self._change(("UPDATE lease SET lip = ? WHERE vif_id = ?", (str(lip), vif_id)))

    def detach(self, vif_id: str) -> None:
        """Drops an attachment and its lease."""
        self._change(
            ("DELETE FROM attachment WHERE vif_id = ?", (vif_id,)),
            ("DELETE FROM lease WHERE vif_id = ?", (vif_id,)),
        )

    def close(self) -> None:
        self._db.close()

    def _change(self, *statements: tuple[str, tuple[str | int, ...]]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for sql, values in statements:
                    self._db.execute(sql, values)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {_cause(error)}") from error


def _damaged(what: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(what)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _cause(error: Exception) -> str:
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return "in use by another controller"
    if isinstance(error, _UNREADABLE):
        return "malformed database schema"
    # what SQLite quotes of a damaged file may be anything
    return "".join(c if c.isprintable() else "?" for c in str(error))
