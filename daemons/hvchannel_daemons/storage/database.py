# SPDX-License-Identifier: Apache-2.0
"""One SQLite file used from asyncio: one writing thread that commits in groups, one reading thread for what may take
long; short reads, and writes that need not wait for the disk, are done where they are asked for.

SQLite rather than files with fsync and rename: one commit makes a document, its revision and its place in
the order of changes durable together, there is nothing to repair after a crash, and many small documents
share one fsync.
"""

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_GROUP = 256  # work items in one transaction, at most
_BUSY_SECONDS = 30.0
_LEAST_PAUSE, _MOST_PAUSE = (
    0.0002,
    0.005,
)  # seconds between two looks whether another process has done writing
_MOVED_EACH = 64  # writes by the event loop's thread


class _Waiting(NamedTuple):
    work: Work[Any]
    future: asyncio.Future[Any]
    durable: bool


class DatabaseError(Exception):
    """The file cannot be opened, or the disk does not take a write; the message names the file."""

    def __init__(self, message: str) -> None:
        """What SQLite says may quote a damaged file: no more of it than can be printed."""
        super().__init__("".join(c if c.isprintable() else "?" for c in message))


class _Connection(sqlite3.Connection):
    """One that says so, too, where the words for what is damaged cannot be read, or a damaged size is beyond all
    memory."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        try:
            return super().execute(sql, parameters)
        except (UnicodeDecodeError, MemoryError) as error:
            damaged = sqlite3.DatabaseError("malformed database schema")
            damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damaged from error


class DamagedError(DatabaseError):
    """The file is not what was written to it."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file is damaged, or none of its own."""
    code = getattr(error, "sqlite_errorcode", None)  # errors of the module itself have none
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _failure(path: Path, error: sqlite3.Error) -> DatabaseError:
    return (DamagedError if is_damage(error) else DatabaseError)(f"{path}: {error}")


def connect(path: Path) -> sqlite3.Connection:
    """Opens `path` with WAL and synchronous=FULL: a commit is on stable storage when it returns."""
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, factory=_Connection
    )
    connection.row_factory = sqlite3.Row
    _enter_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA journal_size_limit=67108864")
    connection.execute("PRAGMA temp_store=MEMORY")  # what a savepoint takes back needs no file
    return connection


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Several processes may create one file at once;
    the change to WAL does not use SQLite's busy time-out."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _create_private(path: Path) -> None:
    """An empty file of mode 0600, which its -wal and -shm files inherit. An existing one is not even
    opened: closing it would drop the POSIX locks that SQLite holds on it elsewhere in this process."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _opening(path: Path, error: BaseException) -> BaseException:
    match error:
        case sqlite3.Error():
            return _failure(path, error)
        case OSError():
            return DatabaseError(f"{path}: {error}")
    return error


class Database:
    """`write` and `read` run functions on a connection, off the event loop where they may take long; `look` runs them
    on it.

    All writes that wait at one moment share one transaction (each in a savepoint of its own, so that one
    that raises takes back only itself) and hence one fsync; their results are handed out after the commit.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        version: int,
        *,
        set_up: Work[None] | None = None,
        update: Work[None] | None = None,
    ) -> None:
        """Opens or creates the file, mode 0600; `set_up` is called in one that was created, `update` in one that was
        there. Raises DatabaseError, also when the schema is another version's."""
        self.path = path
        self.on_damage: Callable[[DamagedError], None] = lambda error: None
        """Called, from any thread, whenever the file turns out to be damaged."""
        opened: list[sqlite3.Connection] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _create_private(path)
            opened += (connect(path) for _ in range(3))
            self._writer, self._reader, self._here = opened
            self._create(schema, version, set_up, update)
            self._writer.execute("PRAGMA busy_timeout=0")  # see `_begin`
            # see `_write_here`: that neither waits for the disk nor moves the log into the file
            self._here.execute("PRAGMA synchronous=NORMAL")
            self._here.execute("PRAGMA wal_autocheckpoint=0")
        except BaseException as error:
            for connection in opened:
                connection.close()
            failure = _opening(path, error)
            if failure is error:
                raise
            raise failure from error
        self._reading = ThreadPoolExecutor(1, thread_name_prefix=f"{path.name}-read")
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._queued = 0  # writes that the writing thread has not answered
        self._written_here = 0
        self._waits = True  # see `_wait_for_disk`
        self._thread = threading.Thread(target=self._write_groups, name=f"{path.name}-write", daemon=True)
        self._thread.start()
        self._closed = False

    def _create(
        self, schema: str, version: int, set_up: Work[None] | None, update: Work[None] | None
    ) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        found = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, version):
            self._writer.execute("ROLLBACK")
            if found > version:
                raise DatabaseError(
                    f"{self.path}: schema version {found} is newer than {version}, the newest this one reads: use the "
                    "release that wrote it, or a later one"
                )
            raise DatabaseError(
                f"{self.path}: schema version {found} is not supported (supported: {version})"
            )
        if found == 0:
            for statement in schema.split(";"):
                self._writer.execute(statement)
            self._writer.execute(f"PRAGMA user_version={version}")
            if set_up is not None:
                set_up(self._writer)
        elif update is not None:
            update(self._writer)
        self._writer.execute("COMMIT")

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """Runs `work` in a transaction and returns its result once that is durable; if it need not be, once others see
        it: it is on the disk not later than the next durable write. Raises what `work` raises, and DatabaseError when
        the commit fails (then nothing of the group was written)."""
        if self._closed:
            raise DatabaseError(f"{self.path}: closed")
        if not durable and self._begun_here():
            return self._write_here(work)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queued += 1
        future.add_done_callback(self._answered)
        self._waiting.put(_Waiting(work, future, durable))
        return await future

    def _answered(self, _: asyncio.Future[Any]) -> None:
        self._queued -= 1

    def _begun_here(self) -> bool:
        """Whether the event loop's thread may write now: after all that was to be written before, and without waiting
        for anybody. Now and then it leaves the log to the thread that may wait, which moves it into the file."""
        self._written_here += 1
        if self._queued or self._written_here % _MOVED_EACH == 0:
            return False
        self._here.execute("PRAGMA busy_timeout=0")
        try:
            self._here.execute("BEGIN IMMEDIATE")
        except sqlite3.Error:
            return False  # the writing thread waits, or tells what is wrong
        finally:
            self._here.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000:.0f}")
        return True

    def _write_here(self, work: Work[T]) -> T:
        """Waits for the disk only where the log begins anew, once in some thousand pages: without that a power failure
        could mix it with the one before."""
        try:
            result = work(self._here)
            self._here.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error
        finally:
            if self._here.in_transaction:
                self._here.execute("ROLLBACK")
        return result

    def version(self) -> int:
        """Another number after each commit of another connection. Raises DatabaseError."""
        return self.look(lambda c: int(c.execute("PRAGMA data_version").fetchone()[0]))

    def look(self, work: Work[T]) -> T:
        """As `read`, by the event loop's own thread: for what is read sooner than two threads hand it to each other.
        Readers wait for no writer. Raises DatabaseError."""
        if self._closed:
            raise DatabaseError(f"{self.path}: closed")
        try:
            return work(self._here)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    async def read(self, work: Work[T]) -> T:
        """Runs `work` on the reading connection; it sees every write that was answered before."""
        if self._closed:
            raise DatabaseError(f"{self.path}: closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reading, work, self._reader)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Finishes the writes that wait, then closes. Further calls raise DatabaseError."""
        if self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        self._thread.join()
        self._reading.shutdown(wait=True)
        for connection in (self._here, self._reader, self._writer):
            connection.close()

    def _failed(self, error: sqlite3.Error) -> DatabaseError:
        failure = _failure(self.path, error)
        if isinstance(failure, DamagedError):
            self.on_damage(failure)
        return failure

    def _write_groups(self) -> None:
        while True:
            item = self._waiting.get()
            if item is None:
                return
            group = [item]
            closing = False
            while len(group) < _GROUP:
                try:
                    more = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    closing = True
                    break
                group.append(more)
            self._commit(group)
            if closing:
                return

    def _commit(self, group: list[_Waiting]) -> None:
        outcomes: list[tuple[asyncio.Future[Any], Any, Exception | None]] = []
        try:
            self._wait_for_disk(any(waiting.durable for waiting in group))
            self._begin()
            run = self._run if len(group) == 1 else self._in_savepoint
            for work, future, _ in group:
                outcomes.append((future, *run(work)))
            if self._writer.in_transaction:
                self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            failure = self._failed(error)
            outcomes = [(future, None, failure) for _, future, _ in group]
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any, Exception | None]]] = {}
        for outcome in outcomes:
            by_loop.setdefault(outcome[0].get_loop(), []).append(outcome)
        for loop, answered in by_loop.items():
            with contextlib.suppress(
                RuntimeError
            ):  # the loop was closed: nobody waits for the answer any more
                loop.call_soon_threadsafe(_answer, answered)

    def _begin(self) -> None:
        """Waits while another process writes: SQLite itself would sleep longer than most writes take."""
        deadline, pause = time.monotonic() + _BUSY_SECONDS, _LEAST_PAUSE
        while True:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _MOST_PAUSE)

    def _wait_for_disk(self, wait: bool) -> None:
        """Whether a commit does. In WAL the one that does brings all before it to the disk, too."""
        if wait is not self._waits:
            self._writer.execute(f"PRAGMA synchronous={'FULL' if wait else 'NORMAL'}")
            self._waits = wait

    def _in_savepoint(self, work: Work[Any]) -> tuple[Any, Exception | None]:
        self._writer.execute("SAVEPOINT work")
        result, error = self._run(work, "ROLLBACK TO work")
        self._writer.execute("RELEASE work")
        return result, error

    def _run(self, work: Work[Any], undo: str = "ROLLBACK") -> tuple[Any, Exception | None]:
        """Its result, or its error and nothing done."""
        try:
            return work(self._writer), None
        except Exception as error:
            if not self._writer.in_transaction:
                # SQLite itself gave the transaction up (disk full): nothing of the group holds
                raise (
                    error if isinstance(error, sqlite3.Error) else sqlite3.OperationalError(str(error))
                ) from error
            self._writer.execute(undo)
            return None, self._failed(error) if isinstance(error, sqlite3.Error) else error


def _answer(answered: list[tuple[asyncio.Future[Any], Any, Exception | None]]) -> None:
    for future, result, error in answered:
        if future.cancelled():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
