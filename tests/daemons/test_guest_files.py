# SPDX-License-Identifier: Apache-2.0
"""guestd's files: whole at every moment, a group all or nothing, right again after a crash anywhere."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hvchannel_daemons import limits
from hvchannel_daemons.guestd import file_names, file_tree
from hvchannel_daemons.guestd.file_access import Access, FilesError, file_mode, group_id
from hvchannel_daemons.guestd.file_tree import Change, FileTree
from hvchannel_daemons.guestd.files import Files
from hvchannel_daemons.guestd.store import GuestStore
from hvchannel_daemons.guestd.store_tables import Arrived, Stored
from hypothesis import given, settings
from hypothesis import strategies as st

keys = st.text(st.sampled_from("aB._/-"), min_size=1, max_size=8) | st.sampled_from(
    ["..", ".", "a/../b", "//", "/", ".hvchannel/lock", "x" * 256, "x" * 240, "x" * 241, "a" * 200 + "/" * 56]
)

# --- names


@given(st.sets(keys, max_size=12))
def test_every_key_has_a_file_of_its_own_inside_the_directory(live: set[str]) -> None:
    folders = file_names.Folders()
    for key in live:
        folders.add(key)
    paths = {key: folders.path(key) for key in live}
    for key, path in paths.items():
        parts = path.split("/")
        assert not {"", ".", ".."} & set(parts) and parts[0] != file_names.RESERVED
        assert max(map(len, parts)) <= 255
        assert file_names.key_of(path) == key
        assert not any(path.startswith(other + "/") for other in paths.values())
    assert len(set(paths.values())) == len(live)
    for key in live:
        folders.remove(key)
    assert [folders.path(key) for key in live] == ["/".join(file_names.names(key)) for key in live]


def test_names_are_those_one_would_guess() -> None:
    folders = file_names.Folders()
    assert (folders.add("net/config"), folders.path("net/config")) == ([], "net/config")
    assert (folders.add("net"), folders.path("net")) == ([], "net/%self")
    assert folders.remove("net/config") == ["net"]
    assert folders.path("net") == "net"
    assert folders.path("a/../b//.c") == "a/%dotdot/b/%empty/.c"


# --- the directory, at every step of every change


def stored(key: str, revision: int, content: bytes | None, *, grouped: bool = False) -> Stored:
    digest = hashlib.sha256(content).digest() if content is not None else b""
    return Stored(
        key,
        revision,
        "text/plain",
        digest,
        len(content or b""),
        content is None,
        revision,
        revision,
        1,
        grouped,
    )


class Killed(BaseException):
    """What is left on the disk at this moment is all there is."""


OPERATIONS = ("rename", "link", "symlink", "unlink", "mkdir", "rmdir", "utime", "chmod")


@contextlib.contextmanager
def watched(before_each: Callable[[int], None]) -> Iterator[None]:
    """Calls `before_each(n)` before the n-th operation on the file system."""
    originals = {name: getattr(os, name) for name in OPERATIONS}
    count, inside = 0, False

    def wrap(name: str):
        def call(*arguments, **named):
            nonlocal count, inside
            if not inside:
                inside = True
                try:
                    before_each(count)
                finally:
                    inside = False
                count += 1
            return originals[name](*arguments, **named)

        return call

    try:
        for name in originals:
            setattr(os, name, wrap(name))
        yield
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


class Directory:
    """A FileTree and what should be in it."""

    def __init__(self) -> None:
        self.top = Path(tempfile.mkdtemp(prefix="hvd-"))
        self.tree = FileTree(self.top, Access())
        self.world: dict[str, Stored] = {}
        self.contents: dict[tuple[str, int], bytes] = {}
        self.revision = 0

    def new(self, changes: dict[str, bytes | None], *, together: bool) -> list[Stored]:
        """Changes of the store, not yet of the directory."""
        made = []
        for key, content in changes.items():
            self.revision += 1
            document = stored(key, self.revision, content, grouped=together)
            made.append(document)
            self.world[key] = document
            if content is not None:
                self.contents[key, self.revision] = content
        return made

    def apply(self, documents: list[Stored], *, together: bool) -> None:
        changes = [
            Change(
                d.key,
                None if d.deleted else self.tree.stage(d, [self.contents[d.key, d.revision]]),
                d.stored_unix_ns,
            )
            for d in documents
        ]
        self.tree.apply(changes, together=together)

    def restart(self) -> None:
        """As after a crash: what was in memory is gone."""
        os.close(self.tree._lock)
        self.tree._pool.shutdown()
        self.tree = FileTree(self.top, Access())
        live = [d for d in self.world.values() if not d.deleted]
        differing, removed = self.tree.differences(live)
        gone = [self.world.get(key) or stored(key, 1, None) for key in removed]
        self.apply(differing + gone, together=any(d.grouped for d in differing + gone))

    def visible(self) -> dict[str, bytes]:
        """What local programs can open."""
        found = {}
        for folder, folders, files in os.walk(self.top):
            if folder == str(self.top):
                folders.remove(file_names.RESERVED)
            for name in files:
                path = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    key = file_names.key_of(path.relative_to(self.top).as_posix())
                    found[key] = path.read_bytes()
        return found

    def wanted(self) -> dict[str, bytes]:
        return {k: self.contents[k, d.revision] for k, d in self.world.items() if not d.deleted}

    def close(self) -> None:
        self.tree.close()
        shutil.rmtree(self.top)


contents = st.none() | st.binary(max_size=6)


@settings(max_examples=30, deadline=None)
@given(
    before=st.dictionaries(st.sampled_from(["a", "b", "n/c", "n/d"]), st.binary(max_size=6)),
    group=st.dictionaries(st.sampled_from(["a", "b", "n/c", "n/d", "m/e"]), contents, min_size=2),
    killed_at=st.integers(0, 60),
)
def test_a_group_is_visible_as_a_whole_or_not_at_all(
    before: dict[str, bytes], group: dict[str, bytes | None], killed_at: int
) -> None:
    directory = Directory()

    def look(n: int) -> None:
        assert directory.visible() in (old, directory.wanted())
        if n == killed_at:
            raise Killed

    directory.apply(directory.new(dict(before), together=False), together=False)
    old = directory.visible()
    assert old == before
    with watched(look):
        try:
            directory.apply(directory.new(group, together=True), together=True)
        except Killed:
            assert directory.visible() in (old, directory.wanted())
            killed_at = -1
            directory.restart()
    assert directory.visible() == directory.wanted()
    directory.close()


steps = st.lists(
    st.tuples(st.dictionaries(keys, contents, min_size=1, max_size=4), st.booleans()), max_size=6
)


@settings(max_examples=30, deadline=None)
@given(steps, st.integers(0, 150))
def test_whatever_the_keys_and_wherever_it_is_killed(
    taken: list[tuple[dict[str, bytes | None], bool]], killed_at: int
) -> None:
    """Keys that are folders of others, that spell tricks, that come and go."""
    directory = Directory()

    def look(n: int) -> None:
        nonlocal killed_at
        whole = set(directory.contents.items())
        for key, content in directory.visible().items():
            assert any(k == key and c == content for (k, _), c in whole), "half a file, or another's"
        if n == killed_at:
            killed_at = -1
            raise Killed

    with watched(look):
        for changes, together in taken:
            try:
                directory.apply(directory.new(changes, together=together), together=together)
            except Killed:
                directory.restart()  # never killed again: `killed_at` is past
            assert directory.visible() == directory.wanted()
            paths = [directory.tree.path(key) for key in directory.wanted()]
            assert all(path.is_relative_to(directory.top) and path.is_file() for path in paths)
        killed_at = -1
        directory.restart()
    assert directory.visible() == directory.wanted()
    directory.close()


def test_what_somebody_else_put_there_is_removed_at_the_start() -> None:
    directory = Directory()
    directory.apply(directory.new({"net/a": b"1", "b": b"2"}, together=False), together=False)
    (directory.top / "net/stranger").write_bytes(b"")
    (directory.top / "empty/deep").mkdir(parents=True)
    (directory.top / "link").symlink_to("/etc/passwd")
    (directory.top / "b").write_bytes(b"spoiled")
    directory.restart()
    assert directory.visible() == directory.wanted()
    assert sorted(p.name for p in directory.top.iterdir()) == [".hvchannel", "b", "net"]
    directory.close()


# --- beside the store


class Guest:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def start(self, **access) -> None:
        self.store = GuestStore(self.directory / "store")
        self.files = Files(self.store, FileTree(self.directory / "files", Access(**access)))
        self.binding = await self.store.bind("vm1", "o")
        await self.files.publish()

    async def stop(self) -> None:
        await self.files.close()
        await self.store.close()

    async def put(self, key: str, revision: int, content: bytes | None) -> None:
        digest = hashlib.sha256(content).digest() if content is not None else b""
        document = Arrived(key, revision, "text/plain", digest, len(content or b""), content)
        await self.store.apply(self.binding, [document])

    def read(self, key: str) -> bytes | None:
        path = self.directory / "files" / key
        return path.read_bytes() if path.exists() else None


async def test_files_follow_the_store_over_restarts(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    await guest.start()
    big = bytes(range(256)) * 3000
    for key, content in {"net/a": b"1", "big": big, "gone": b""}.items():
        await guest.put(key, 1, content)
    await guest.files.publish()
    assert (guest.read("net/a"), guest.read("big")) == (b"1", big)
    await guest.put("net/a", 2, b"2")  # killed before it was published
    await guest.put("gone", 2, None)
    await guest.stop()
    await guest.start()
    assert (guest.read("net/a"), guest.read("gone")) == (b"2", None)
    before = (tmp_path / "files/big").stat().st_ino
    (tmp_path / "files/net/a").unlink()
    await guest.stop()
    await guest.start()
    assert guest.read("net/a") == b"2"
    assert (tmp_path / "files/big").stat().st_ino == before, "what is right is not written again"
    await guest.stop()


async def test_a_file_whose_data_was_lost_with_the_power_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Guest(tmp_path)
    await guest.start()
    for key in ("torn", "whole"):
        await guest.put(key, 1, b"content")
    await guest.files.publish()
    await guest.stop()
    torn, whole = (tmp_path / "files" / key for key in ("torn", "whole"))
    about = torn.stat()
    torn.write_bytes(bytes(about.st_size))
    os.utime(torn, ns=(about.st_atime_ns, about.st_mtime_ns))
    before = whole.stat().st_ino
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("another boot\n")
    monkeypatch.setattr(file_tree, "_BOOT_ID", boot_id)
    await guest.start()
    assert (guest.read("torn"), guest.read("whole")) == (b"content", b"content")
    assert whole.stat().st_ino == before
    await guest.stop()


async def test_files_say_what_they_are_and_who_may_read_them(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    await guest.start()
    await guest.put("net/a", 7, b"1")
    await guest.files.publish()
    path = tmp_path / "files/net/a"
    assert [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent)] == [0o600, 0o700]
    with contextlib.suppress(OSError):  # a file system without attributes
        said = {name: os.getxattr(path, f"user.hvchannel.{name}") for name in ("key", "revision")}
        assert said == {"key": b"net/a", "revision": b"7"}
    await guest.stop()
    await guest.start(mode=0o640, group=os.getgid())
    assert [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent)] == [0o640, 0o750]
    await guest.stop()


async def test_a_file_that_cannot_be_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Guest(tmp_path)
    await guest.start()
    full, real = True, os.fchmod

    def fchmod(descriptor: int, mode: int) -> None:
        if full:
            raise OSError(28, "No space left on device")
        real(descriptor, mode)

    await guest.put("a", 1, b"1")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fchmod", fchmod)
        await guest.files.publish()
        assert guest.files.errors == {"a": "No space left on device"}
        assert guest.read("a") is None
        full = False
        await guest.files.publish()
    assert (guest.files.errors, guest.read("a")) == ({}, b"1")
    await guest.stop()


async def test_publish_during_changes_ends_with_the_newest(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    await guest.start()

    async def put_all() -> None:
        for revision in range(1, 30):
            await guest.put("a", revision, bytes([revision]) * limits.PIECE_BYTES)

    putting = asyncio.create_task(put_all())
    while not putting.done():
        await guest.files.publish()
        await asyncio.sleep(0)  # there may have been nothing to do
    await guest.files.publish()
    assert guest.read("a") == bytes([29]) * limits.PIECE_BYTES
    await guest.stop()


def test_a_directory_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home/letter").write_bytes(b"dear")
    with pytest.raises(FilesError, match="holds files that are not ours"):
        FileTree(tmp_path / "home", Access())
    assert (tmp_path / "home/letter").read_bytes() == b"dear"
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(FilesError, match="nobody else may write to"):
        FileTree(tmp_path / "open", Access())
    tree = FileTree(tmp_path / "ours", Access())
    with pytest.raises(FilesError, match="another guestd writes there"):
        FileTree(tmp_path / "ours", Access())
    tree.close()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FilesError, match=f"files {tmp_path}/file"):
        FileTree(tmp_path / "file", Access())


def test_modes_and_groups_are_checked() -> None:
    assert (file_mode("0640"), file_mode("644")) == (0o640, 0o644)
    for wrong in ("0666", "0700", "0400", "rw", ""):
        with pytest.raises(ValueError, match="is not valid"):
            file_mode(wrong)
    assert (group_id(None), group_id("0"), group_id("root")) == (None, 0, 0)
    with pytest.raises(ValueError, match="'nobodys' is not known"):
        group_id("nobodys")
