# SPDX-License-Identifier: Apache-2.0
"""Putting a document together from its pieces, believing nothing: sizes, order and digest are checked.

A document of one piece stays in memory; a larger one is spooled to an unnamed file in the state directory,
so memory is bounded and a crash leaves nothing behind.
"""

import asyncio
import hashlib
import tempfile
from pathlib import Path
from typing import IO

from hvchannel_daemons import limits
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.guestd.store_tables import Arrived


class Rejected(Exception):  # noqa: N818 - the protocol's own word
    """The document breaks a rule; the session goes on."""

    def __init__(self, key: str, revision: int, why: str) -> None:
        super().__init__(why)
        self.key = key
        self.revision = revision


class Damaged(Rejected):
    """Its content is not what was declared: damaged on its way, past the 16 bits of TCP's checksum. It may come whole
    the next time."""


class ProtocolError(Exception):
    """The stream makes no sense any more; the session must end."""


class _Open:
    """The document that is on its way."""

    def __init__(self, begin: pb.DocumentBegin, spool: IO[bytes]) -> None:
        self.begin = begin
        self.spool = spool
        self.digest = hashlib.sha256()
        self.size = 0

    def add(self, data: bytes) -> None:
        self.spool.write(data)
        self.digest.update(data)
        self.size += len(data)


class Assembly:
    def __init__(self, directory: Path) -> None:
        """`directory`: where large documents are spooled."""
        self._directory = directory
        self._open: _Open | None = None
        self._skipping = False  # pieces of a rejected document are still coming

    def close(self) -> None:
        if self._open is not None:
            self._open.spool.close()
            self._open = None

    async def begin(self, begin: pb.DocumentBegin) -> Arrived | None:
        """The document if this is the whole of it, else None. Raises Rejected."""
        self.close()
        self._skipping = False
        try:
            _check(begin)
        except ValueError as error:
            self._skipping = True
            raise Rejected(begin.key[: limits.KEY_BYTES], begin.revision, str(error)) from error
        if begin.deleted:
            return Arrived(begin.key, begin.revision, "", b"", 0, None)
        if len(begin.data) == begin.size:
            _check_digest(begin, hashlib.sha256(begin.data).digest())
            return _arrived(begin, begin.data)
        spool = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 - lives as long as the transfer
        self._open = _Open(begin, spool)
        await asyncio.to_thread(self._open.add, begin.data)
        begin.ClearField("data")
        return None

    async def piece(self, piece: pb.DocumentPiece) -> Arrived | None:
        """The document if this was its last piece, else None. Raises Rejected, ProtocolError."""
        if self._skipping:
            return None
        if self._open is None:
            raise ProtocolError("a DocumentPiece without a DocumentBegin before it")
        document = self._open
        if piece.offset != document.size:
            raise ProtocolError(f"a piece at offset {piece.offset}, expected {document.size}")
        if not 1 <= len(piece.data) <= limits.PIECE_BYTES:
            raise ProtocolError(f"a piece of {len(piece.data)} bytes (valid: 1 to {limits.PIECE_BYTES})")
        if document.size + len(piece.data) > document.begin.size:
            raise ProtocolError(f"more bytes than the declared {document.begin.size}")
        await asyncio.to_thread(document.add, piece.data)
        if document.size < document.begin.size:
            return None
        self._open = None
        try:
            _check_digest(document.begin, document.digest.digest())
        except Rejected:
            document.spool.close()
            raise
        document.spool.seek(0)
        return _arrived(document.begin, document.spool)


def _check(begin: pb.DocumentBegin) -> None:
    """Raises ValueError with one line that says what is wrong."""
    limits.check_key(begin.key)
    limits.check_revision(begin.revision)
    limits.check_content_type(begin.content_type)
    limits.check_size(begin.size)
    if begin.deleted:
        if begin.size or begin.data:
            raise ValueError("a tombstone with content")
        return
    if len(begin.sha256) != hashlib.sha256().digest_size:
        raise ValueError(f"a SHA-256 of {len(begin.sha256)} bytes (valid: 32)")
    if len(begin.data) > min(begin.size, limits.PIECE_BYTES):
        raise ValueError(
            f"a first piece of {len(begin.data)} bytes in a document of {begin.size} "
            f"(valid: at most {limits.PIECE_BYTES} and the document's size)"
        )


def _check_digest(begin: pb.DocumentBegin, digest: bytes) -> None:
    if digest != begin.sha256:
        raise Damaged(
            begin.key,
            begin.revision,
            f"content has SHA-256 {digest.hex()[:16]}..., declared was {begin.sha256.hex()[:16]}...",
        )


def _arrived(begin: pb.DocumentBegin, content: bytes | IO[bytes]) -> Arrived:
    return Arrived(begin.key, begin.revision, begin.content_type, begin.sha256, begin.size, content)
