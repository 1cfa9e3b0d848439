# SPDX-License-Identifier: Apache-2.0
"""The directory in which local programs find the documents as files: every file whole at every moment.

A file is written beside the others, then renamed to its place. Files of a group become visible
together: each member first becomes a symbolic link that leads, through one common link, to what the file was; then the
common link is turned, which is one rename; then files take the links' places.

    documents/net/a -> ../.hvchannel/switch/0      .hvchannel/switch -> old     (then: -> new)
    documents/net/b -> ../.hvchannel/switch/1      .hvchannel/old/0, new/0, new/1

The store is what counts: whatever a crash left, `differences` and `apply` make the directory right again. So nothing
here waits for the disk. A process that dies takes nothing along that it has written; whether the machine has gone down
since, the kernel's boot id tells, and then every file is read and compared.
"""

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from hvchannel_daemons.guestd.file_access import Access, FilesError
from hvchannel_daemons.guestd.file_names import RESERVED, SELF, Folders, key_of
from hvchannel_daemons.guestd.store_tables import Arrived, Stored

log = structlog.get_logger()

_WRITERS: Final = 8
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")  # random(4)
_NO_XATTR: Final = (errno.ENOTSUP, errno.EPERM, errno.ENOSPC, errno.E2BIG)


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a document's file."""

    key: str
    staged: Path | None = None  # None: it is deleted
    stored_unix_ns: int = 0  # the file's modification time, by which `differences` knows a revision


class FileTree:
    """For one thread at a time, but for `stage`."""

    def __init__(self, top: Path, access: Access) -> None:
        """Opens or makes the directory. Raises FilesError, also when it is somebody else's."""
        self.top = top
        self._access = access
        self._own = top / RESERVED
        self._staging = self._own / "tmp"
        self._folders = Folders()
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="files")
        self._numbers = itertools.count()
        self._xattrs = True
        try:
            self._lock = self._open()
        except OSError as error:
            raise FilesError(f"files {error.filename or top}: {error.strerror}") from error

    def _open(self) -> int:
        self.top.mkdir(parents=True, exist_ok=True, mode=0o700)
        about = self.top.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o022:
            raise FilesError(
                f"files {self.top}: must be a directory of our own user that nobody else may write to"
            )
        if not self._own.is_dir() and any(self.top.iterdir()):
            raise FilesError(
                f"files {self.top}: holds files that are not ours, which would be removed "
                "(valid: a directory that is empty or not there)"
            )
        self._folder(self.top)
        self._folder(self._own)
        lock = os.open(self._own / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise FilesError(f"files {self.top}: another guestd writes there") from None
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir(mode=0o700)
        (self._staging / "Case").touch()
        if (self._staging / "case").exists():
            os.close(lock)
            raise FilesError(
                f"files {self.top}: its file system ignores case, so that two keys could be one file "
                "(--files DIR for another place, --no-files for none)"
            )
        self._settle_switch()
        return lock

    def close(self) -> None:
        self._pool.shutdown(wait=True)
        os.close(self._lock)

    def path(self, key: str) -> Path:
        """Of the document's file."""
        return self.top / self._folders.path(key)

    # making files

    def stage(self, document: Stored | Arrived, content: Iterable[bytes]) -> Path:
        """A file of the whole content, not yet where readers look. Raises OSError, and as `content`."""
        path = self._spare()
        try:
            with path.open("xb") as file:
                if document.size:
                    # else ext4 hands the data to the disk within the rename to a file's place
                    with contextlib.suppress(OSError):
                        os.posix_fallocate(file.fileno(), 0, document.size)
                for piece in content:
                    file.write(piece)
                file.flush()
                os.fchmod(file.fileno(), self._access.mode)
                if self._access.group is not None:
                    os.fchown(file.fileno(), -1, self._access.group)
                self._describe(file.fileno(), document)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def pool(self) -> ThreadPoolExecutor:
        """Where to call `stage`."""
        return self._pool

    def _describe(self, descriptor: int, document: Stored | Arrived) -> None:
        if not self._xattrs:
            return
        said = {
            "key": document.key,
            "revision": str(document.revision),
            "content_type": document.content_type,
            "sha256": document.sha256.hex(),
        }
        try:
            for name, value in said.items():
                os.setxattr(descriptor, f"user.hvchannel.{name}", value.encode())
        except OSError as error:
            if error.errno not in _NO_XATTR:
                raise
            self._xattrs = False
            log.info("files_without_attributes", directory=str(self.top), why=error.strerror)

    # putting them in place

    def apply(self, changes: Sequence[Change], *, together: bool) -> None:
        """Raises OSError: then some changes may be visible, but no file is half of anything; `apply` it again."""
        if together and len(changes) > 1:
            self._turn(changes)
            return
        for change in changes:
            if change.staged is None:
                self._remove(change.key)
            else:
                self._put(change.key, change.staged, change.stored_unix_ns, alone=len(changes) == 1)

    def _put(self, key: str, staged: Path, stored_unix_ns: int, *, alone: bool) -> None:
        path = self._place(key)
        os.utime(staged, ns=(stored_unix_ns, stored_unix_ns))
        if not alone:
            staged.rename(path)
            return
        # ext4 frees a file's blocks, and may wait for the disk, when the last who holds it lets it go
        with self._held(path):
            staged.rename(path)

    @contextlib.contextmanager
    def _held(self, path: Path) -> Iterator[None]:
        """Whatever is there stays until after the block, when another thread lets it go."""
        held = None
        with contextlib.suppress(OSError):
            held = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield
        finally:
            if held is not None:
                self._pool.submit(os.close, held)

    def _place(self, key: str) -> Path:
        """The path of a document that is or becomes one of the directory's; its folder is there afterwards."""
        if key not in self._folders:
            for other in self._folders.add(key):
                self._into_folder(self.path(other))
        path = self.path(key)
        self._make_folders(path.parent)
        if path.is_dir() and not path.is_symlink():
            self._discard(path)
        return path

    def _remove(self, key: str) -> None:
        if key not in self._folders:
            return
        path = self.path(key)
        path.unlink(missing_ok=True)
        leave = {self.path(other) for other in self._folders.remove(key)}  # folders that become files again
        folder = path.parent
        while folder != self.top and folder not in leave:
            try:
                folder.rmdir()
            except OSError:
                return  # there are others
            folder = folder.parent
        if folder in leave:
            self._out_of_folder(folder)

    def _into_folder(self, path: Path) -> None:
        """`a` becomes `a/%self`, which is `path`: there shall be an `a/b`."""
        plain, spare = path.parent, self._spare()
        with contextlib.suppress(FileNotFoundError):
            plain.rename(spare)
            self._make_folders(plain)
            spare.rename(path)

    def _out_of_folder(self, path: Path) -> None:
        """`a/%self` becomes `a`, which is `path`: there is no `a/b` any more."""
        spare = self._spare()
        with contextlib.suppress(FileNotFoundError):
            (path / SELF).rename(spare)
            self._discard(path)
            spare.rename(path)

    def _turn(self, changes: Sequence[Change]) -> None:
        old, new, switch = (self._own / name for name in ("old", "new", "switch"))
        self._settle_switch()
        for folder in (old, new):
            self._folder(folder)
        for change in changes:
            if change.staged is not None:
                self._place(change.key)  # first all: it may move what is there
        members = [
            (str(n), change, self.path(change.key))
            for n, change in enumerate(changes)
            if change.key in self._folders
        ]
        for name, change, path in members:
            with contextlib.suppress(FileNotFoundError):
                os.link(path, old / name)
            if change.staged is not None:
                os.utime(change.staged, ns=(change.stored_unix_ns, change.stored_unix_ns))
                change.staged.rename(new / name)
        switch.symlink_to(old.name)
        for name, _, path in members:
            spare = self._spare()
            spare.symlink_to(os.path.relpath(switch / name, path.parent))
            spare.rename(path)
        spare = self._spare()
        spare.symlink_to(new.name)
        spare.rename(switch)  # now all are what they shall be
        for name, change, path in members:
            if change.staged is None:
                self._remove(change.key)
            else:
                (new / name).rename(path)
        self._settle_switch()

    def _settle_switch(self) -> None:
        """Puts files, or nothing, in place of links through the switch that a crash left: to readers no change."""
        switch = self._own / "switch"
        if switch.is_symlink():
            for path in self._walk():
                if path.is_symlink() and Path(os.readlink(path)).parts[-3:-1] == (RESERVED, switch.name):  # noqa: PTH115
                    try:
                        spare = self._spare()
                        os.link(path.resolve(strict=True), spare)
                        spare.rename(path)
                    except FileNotFoundError:
                        path.unlink()
            switch.unlink()
        for name in ("old", "new"):
            shutil.rmtree(self._own / name, ignore_errors=True)

    # after a crash

    def differences(self, live: Sequence[Stored]) -> tuple[list[Stored], list[str]]:
        """Documents whose file is not there or another's, and keys that have a file but no document.

        Removes what is no document's file, and forgets what was known of the directory. Raises OSError.
        """
        self._settle_switch()
        found = {path: key_of(path.relative_to(self.top).as_posix()) for path in self._walk()}
        self._folders = Folders()
        for key in found.values():
            if key is not None:
                self._folders.add(key)
        while strangers := [path for path, key in found.items() if key is None or self.path(key) != path]:
            for path in strangers:
                path.unlink()
                key = found.pop(path)
                if key is not None:
                    self._folders.remove(key)
        self._settle_folders()
        wanted = {document.key: document for document in live}
        there = {key: path for path, key in found.items() if key is not None}
        self._remove_torn(there, wanted)
        differing = [
            document
            for key, document in wanted.items()
            if key not in there or not self._is_current(there[key], document)
        ]
        return differing, [key for key in there if key not in wanted]

    def _is_current(self, path: Path, document: Stored) -> bool:
        about = path.lstat()
        return (
            stat.S_ISREG(about.st_mode)
            and about.st_size == document.size
            and about.st_mtime_ns == document.stored_unix_ns
            and stat.S_IMODE(about.st_mode) == self._access.mode
            and about.st_gid == (self._access.group if self._access.group is not None else os.getegid())
        )

    def _remove_torn(self, there: dict[str, Path], wanted: Mapping[str, Stored]) -> None:
        """After the machine went down, files with another content than they say: their names were on the disk, their
        data was not. Once it is done it need not be done again before the machine goes down the next time."""
        boot, seen = _BOOT_ID.read_text(encoding="ascii"), self._own / "boot"
        if seen.exists() and seen.read_text(encoding="ascii") == boot:
            return
        for key in [key for key in there if key in wanted]:
            if self._is_current(there[key], wanted[key]) and _sha256(there[key]) != wanted[key].sha256:
                log.warning("file_torn", key=key)
                there.pop(key).unlink()
        spare = self._spare()
        spare.write_text(boot, encoding="ascii")
        spare.rename(seen)

    def _walk(self) -> Iterator[Path]:
        """All that is no folder, but for our own."""
        for folder, folders, files in os.walk(self.top):
            if folder == str(self.top):
                folders.remove(RESERVED)
            for name in folders:
                path = Path(folder, name)
                if path.is_symlink():
                    yield path
            for name in files:
                yield Path(folder, name)

    def _settle_folders(self) -> None:
        for folder, folders, _ in os.walk(self.top, topdown=False):
            for name in folders:
                path = Path(folder, name)
                if path != self._own and not path.is_relative_to(self._own):
                    try:
                        path.rmdir()
                    except OSError:
                        self._folder(path)  # as who may read is told now

    def _discard(self, folder: Path) -> None:
        """Out of the way, with whatever somebody put into it."""
        spare = self._spare()
        folder.rename(spare)
        shutil.rmtree(spare, ignore_errors=True)

    def _spare(self) -> Path:
        """A path on which nothing is."""
        return self._staging / str(next(self._numbers))

    def _make_folders(self, folder: Path) -> None:
        if folder == self.top or (folder.is_dir() and not folder.is_symlink()):
            return
        self._make_folders(folder.parent)
        folder.unlink(missing_ok=True)
        self._folder(folder)

    def _folder(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        if self._access.group is not None:
            os.chown(path, -1, self._access.group)
        path.chmod(self._access.folder_mode)


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
