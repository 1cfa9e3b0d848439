# SPDX-License-Identifier: Apache-2.0
"""Disks that are full, read-only, or return something else than was written."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from hvchannel_daemons.feed import FeedError

from tests.chaos.fault import Scene, fault
from tests.chaos.world import World

_PAGE = 4096


def _always(world: World, target: str) -> bool:
    return True


@fault("disk full", lambda world: list(world.topology.whos), common=True, hitless=_always)
def disk_full(scene: Scene, target: str) -> None:
    filler = scene.world.disk(target) / "filler"
    with filler.open("wb", buffering=0) as file:
        deadline = time.monotonic() + scene.luck.uniform(1, 5)
        try:
            while time.monotonic() < deadline:  # what others free is taken, too
                try:
                    file.write(bytes(1 << 20))
                except OSError:
                    try:
                        file.write(bytes(_PAGE))
                    except OSError:
                        time.sleep(0.02)
        finally:
            filler.unlink()


def _on_disk(world: World) -> Sequence[str]:
    return [*_refusing(world), "vm1/guestd", "vm2/guestd"]


@fault("read-only disk", _on_disk, hitless=_always)
def read_only(scene: Scene, target: str) -> None:
    """All that is on it ends, as after an error of the disk; what starts again finds that it cannot write."""
    who = target.partition("/")[0]
    users = _users(scene.world, who)
    disk = scene.world.disk(who)
    with ExitStack() as paused:
        if who == "host":  # the control plane's files are on it, too
            scene.writer.stop()
            paused.callback(scene.writer.start)
        with scene.world.dead(*users):
            _remount(disk, "ro")
        offset = scene.world.log_size(target)
        try:
            scene.world.until(
                lambda: _says(scene.world, target, offset, str(disk)), f"{target} names its disk"
            )
            scene.lasts(0, 2)
        finally:
            _again(lambda: _remount(disk, "rw"))


def _users(world: World, who: str) -> list[str]:
    return (
        [f"{who}/guestd"]
        if who != "host"
        else ["host/hostd", "host/control", *(["host/nats"] if world.uses_nats else [])]
    )


def _remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True, capture_output=True)


def _again(work: Callable[[], None]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            return work()
        except subprocess.CalledProcessError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _says(world: World, key: str, offset: int, text: str) -> bool:
    return text in world.log_since(key, offset)


@fault("guest's store damaged", lambda world: ["vm1/guestd", "vm2/guestd"], hitless=_always)
def damaged_store(scene: Scene, target: str) -> None:
    """guestd sets it aside, says so, and is sent everything again."""
    who = target.partition("/")[0]
    offset = scene.world.log_size(target)
    with scene.world.dead(target):
        scene.world.forgot.add(who)
        _damage(scene, scene.world.disk(who) / "store.db")
    aside = list(scene.world.disk(who).glob("store.db.damaged*"))
    del offset
    for file in aside[:-1]:
        file.unlink(missing_ok=True)


def _refusing(world: World) -> list[str]:
    return ["host/control"] if world.uses_nats else ["host/control", "host/hostd"]


@fault("feed or attachments damaged", _refusing, hitless=_always)
def damaged_feed(scene: Scene, target: str) -> None:
    """Neither may be guessed: the process refuses to start, by name of the file, until a copy is put back."""
    disk = scene.world.disk("host")
    name = "feed.db" if target.endswith("hostd") else "control.db"
    with ExitStack() as clean:
        if target.endswith("hostd"):
            scene.writer.stop()
            clean.callback(scene.writer.start)
        scene.attacher.pause()
        clean.callback(scene.attacher.resume)
        copies = Path(clean.enter_context(tempfile.TemporaryDirectory()))
        with scene.world.dead(target):
            for file in disk.glob(f"{name}*"):
                shutil.copy2(file, copies / file.name)
            _damage(scene, disk / name, whole=True)
            offset = scene.world.log_size(target)
        try:
            scene.world.until(
                lambda: _says(scene.world, target, offset, str(disk / name)), f"{target} names {name}", 30
            )
            if name == "feed.db":
                _must_refuse(scene)
        except TimeoutError as error:
            scene.wrong.append(f"{error}: it takes a file that is not what it wrote")
        with scene.world.dead(target):
            for file in disk.glob(f"{name}*"):
                file.unlink()
            for file in copies.iterdir():
                shutil.copy2(file, disk / file.name)


def _must_refuse(scene: Scene) -> None:
    try:
        scene.world.handle.put("vm1", "never", b"")
    except FeedError:
        return
    scene.wrong.append("a put into a damaged feed was confirmed")


def _damage(scene: Scene, path: Path, *, whole: bool = False) -> None:
    """One of the ways in which files come back wrong. `whole`: so that it cannot be overlooked."""
    luck = scene.luck
    size = path.stat().st_size
    ways: list[Callable[[], None]] = [
        lambda: os.truncate(path, 0),
        lambda: os.truncate(path, min(size, _PAGE * luck.randint(1, 3)) - 1000),
        lambda: _overwrite(path, 0, luck.randbytes(100)),
    ]
    if not whole:
        ways.append(
            lambda: _overwrite(path, _PAGE * luck.randrange(max(1, size // _PAGE)), luck.randbytes(_PAGE))
        )
        ways.append(lambda: os.truncate(path, _PAGE * luck.randint(1, max(1, size // _PAGE))))
    way = luck.choice(ways)
    for journal in ("-wal", "-shm"):
        path.with_name(path.name + journal).unlink(missing_ok=True)
    way()


def _overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)
