# SPDX-License-Identifier: Apache-2.0
"""Keeps the directory of files equal to the store: a document's file is there before the document is acknowledged."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import structlog

from hvchannel_daemons import limits
from hvchannel_daemons.guestd.file_tree import Change, FileTree
from hvchannel_daemons.guestd.store import GuestStore
from hvchannel_daemons.guestd.store_tables import Arrived, Stored
from hvchannel_daemons.storage.pieces import ContentGone
from hvchannel_daemons.storage.turns import Turns

log = structlog.get_logger()

_STAGED_TOGETHER: Final = 64
_ALL: Final = sys.maxsize


class Files:
    """`position`: of the last change of the store that is visible as a file. Without a `tree` there are no files, and
    all is visible as soon as it is asked for. `keeps`: files of documents that the store does not have stay until
    `synced`, because the store was lost and not they."""

    def __init__(self, store: GuestStore, tree: FileTree | None, *, keeps: bool = False) -> None:
        self._keeps = keeps
        self.position = 0
        self.errors: dict[str, str] = {}  # by key: why its file is not what the store holds
        self.published = Turns()  # `position` may have moved
        self.on_published: Callable[[], None] = lambda: None
        self._store = store
        self._tree = tree
        self._publishing = asyncio.Lock()
        self._staged: dict[tuple[str, int, bytes], Path] = {}
        self._trusted = False  # whether the directory is what we believe it to be

    @property
    def directory(self) -> Path | None:
        return None if self._tree is None else self._tree.top

    def path(self, key: str) -> Path | None:
        """Of the live document's file; None without files."""
        return None if self._tree is None else self._tree.path(key)

    async def close(self) -> None:
        if self._tree is not None:
            await asyncio.to_thread(self._tree.close)

    def staged_at_once(self, documents: Sequence[Arrived]) -> bool:
        """As `stage`, where that is sooner done than handed to another thread; False: it is not."""
        if self._tree is None:
            return True
        if len(documents) != 1 or not isinstance(documents[0].content, bytes):
            return False
        with contextlib.suppress(OSError):
            name = _name(documents[0])
            if name not in self._staged:
                self._staged[name] = self._tree.stage(documents[0], [documents[0].content])
        return True

    async def stage(self, documents: Sequence[Arrived]) -> None:
        """Writes the files of documents that are just being stored, so that both are done at once.

        A failure is found again, and told, by `publish`.
        """
        if self._tree is None:
            return
        tree, loop = self._tree, asyncio.get_running_loop()

        async def one(document: Arrived) -> None:
            assert document.content is not None
            name = _name(document)
            if name in self._staged:
                return
            with contextlib.suppress(OSError):
                content = _read_apart(document.content)
                self._staged[name] = await loop.run_in_executor(tree.pool(), tree.stage, document, content)

        await asyncio.gather(*(one(document) for document in documents if document.content is not None))

    async def synced(self, *, swept: bool) -> None:
        """The hypervisor has sent all there is; `swept`: the store has just dropped documents of an earlier origin."""
        if self._keeps:
            self._keeps, self._trusted, swept = False, False, True
        if swept:
            await self.publish()

    async def publish(self) -> None:
        """Makes visible what the store holds; `errors` has what could not be. Raises DatabaseError."""
        async with self._publishing:
            if self._tree is None:
                self.position = await self._store.position()
            else:
                while not await self._published(self._tree):
                    pass
                await self._drop_staged()
        self.on_published()
        self.published.note()

    async def _published(self, tree: FileTree) -> bool:
        """False when the store changed meanwhile: again."""
        whole = not self._trusted
        changes = await self._store.changes("", after=0 if whole else self.position, limit=_ALL)
        until = changes[-1].position if changes else self.position
        try:
            if whole:
                changes = await self._all_that_differ(tree, changes)
                self._trusted = True
            elif self.errors:
                changes = await self._with_failed(changes)
            together = any(change.grouped for change in changes)
            step = len(changes) if together else _STAGED_TOGETHER
            for start in range(0, len(changes), step or 1):
                await self._apply(tree, changes[start : start + step], together=together)
        except ContentGone:
            return False
        except OSError as error:
            log.error("files_failed", directory=str(tree.top), error=str(error))
            self._trusted = False
            self.errors |= dict.fromkeys((change.key for change in changes), error.strerror or str(error))
        self.position = until
        return True

    async def _all_that_differ(self, tree: FileTree, changes: Sequence[Stored]) -> list[Stored]:
        live = [change for change in changes if not change.deleted]
        differing, removed = await asyncio.to_thread(tree.differences, live)
        gone = {change.key: change for change in changes if change.deleted}
        tombstones = [gone.get(key) or _nothing(key) for key in removed if not self._keeps or key in gone]
        self.errors = {}
        if differing or tombstones:
            log.info("files_reconciled", written=len(differing), removed=len(tombstones))
        return differing + tombstones

    async def _with_failed(self, changes: Sequence[Stored]) -> list[Stored]:
        newer = {change.key for change in changes}
        failed = [await self._store.newest(key) for key in self.errors if key not in newer]
        return [*(document for document in failed if document is not None), *changes]

    async def _apply(self, tree: FileTree, changes: Sequence[Stored], *, together: bool) -> None:
        staged: list[Path | BaseException | None]
        staged = [None if change.deleted else self._staged.pop(_name(change), None) for change in changes]
        lacking = [n for n, change in enumerate(changes) if staged[n] is None and not change.deleted]
        if lacking:
            made = await asyncio.gather(
                *(self._stage(tree, changes[n]) for n in lacking), return_exceptions=True
            )
            for n, one in zip(lacking, made, strict=True):
                staged[n] = one
        found = [s for s in staged if isinstance(s, BaseException) and not isinstance(s, OSError)]
        if found:
            raise found[0]
        failed = {
            change.key: s.strerror or str(s)
            for change, s in zip(changes, staged, strict=True)
            if isinstance(s, OSError)
        }
        if failed and together:
            failed = {
                change.key: f"file of {key}: {why}" for key, why in failed.items() for change in changes
            }
        ready = [
            Change(change.key, s, change.stored_unix_ns)
            for change, s in zip(changes, staged, strict=True)
            if not isinstance(s, BaseException) and change.key not in failed
        ]
        for key, why in failed.items():
            log.error("file_failed", key=key, error=why)
        if len(ready) <= 1:
            tree.apply(ready, together=together)
        else:
            await asyncio.to_thread(tree.apply, ready, together=together)
        for change in ready:
            self.errors.pop(change.key, None)
        self.errors |= failed

    async def _stage(self, tree: FileTree, document: Stored) -> Path:
        """Raises ContentGone, OSError."""
        loop = asyncio.get_running_loop()

        def content() -> Iterator[bytes]:
            for n in range(-(-document.size // limits.PIECE_BYTES)):
                reading = asyncio.run_coroutine_threadsafe(self._store.piece(document, n), loop)
                yield reading.result()

        return await loop.run_in_executor(tree.pool(), tree.stage, document, content())

    async def _drop_staged(self) -> None:
        staged, self._staged = self._staged, {}
        for path in staged.values():
            await asyncio.to_thread(path.unlink, missing_ok=True)


def _name(document: Arrived | Stored) -> tuple[str, int, bytes]:
    return document.key, document.revision, document.sha256


def _nothing(key: str) -> Stored:
    return Stored(key, 0, "", b"", 0, deleted=True, position=0, stored_unix_ns=0, content=None, grouped=False)


def _read_apart(content: bytes | IO[bytes]) -> Iterator[bytes]:
    """The content, whoever else reads the same file at the same time."""
    if isinstance(content, bytes):
        yield content
        return
    offset = 0
    while piece := os.pread(content.fileno(), limits.PIECE_BYTES, offset):
        yield piece
        offset += len(piece)
