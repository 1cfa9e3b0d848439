# SPDX-License-Identifier: Apache-2.0
"""Pins, and the bpffs they live in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hvchannel_softswitch.bpf import Link, Map, MapKind, Program, bpffs, create_map, load_program, pins

from .assembler import DROP, assemble, leave

pytestmark = pytest.mark.root

FRAME = bytes(60)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where a bpffs may be mounted; what is mounted is gone after the test."""
    made = tmp_path / "bpf"
    made.mkdir()
    yield made
    while os.path.ismount(made):
        subprocess.run(["umount", str(made)], check=True)


def test_a_bpffs_is_mounted_once(directory: Path) -> None:
    assert not bpffs.is_bpffs(directory)
    assert bpffs.mount(directory)
    assert bpffs.is_bpffs(directory)
    assert not bpffs.mount(directory)
    assert not bpffs.is_bpffs(directory.parent)
    assert not bpffs.is_bpffs(directory / "nothing")


def test_what_cannot_be_mounted_on_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot mount a bpffs: No such file.*nothing"):
        bpffs.mount(tmp_path / "nothing")


def test_a_pinned_map_outlives_its_descriptor(directory: Path) -> None:
    bpffs.mount(directory)
    path = directory / "folder" / "numbers"
    with create_map(MapKind.ARRAY, 4, 4, 1, name="t_numbers") as table:
        table.update(bytes(4), b"four")
        pins.pin(table.fd, path)
    with Map.from_pin(path) as again:
        assert again.info.name == "t_numbers"
        assert again.lookup(bytes(4)) == b"four"
    assert pins.unpin(path)
    assert not pins.unpin(path)
    with pytest.raises(FileNotFoundError, match=r"cannot open the pin: No such file.*numbers"):
        Map.from_pin(path)


def test_a_pinned_program_runs_on(directory: Path) -> None:
    bpffs.mount(directory)
    with load_program(assemble(leave(DROP)), name="t_drop") as program:
        pins.pin(program.fd, directory / "program")
    with Program.from_pin(directory / "program") as again:
        assert again.info.name == "t_drop"
        assert again.test_run(FRAME).result == DROP
    with pytest.raises(OSError, match=r"the pin is of a bpf-prog, not of a bpf-link.*program"):
        Link.from_pin(directory / "program")


def test_errors_say_what_would_be_right(directory: Path) -> None:
    with create_map(MapKind.ARRAY, 4, 4, 1) as table:
        with pytest.raises(OSError, match=r"not in a bpffs: mount one with.*outside"):
            pins.pin(table.fd, directory / "outside")
        bpffs.mount(directory)
        pins.pin(table.fd, directory / "once")
        with pytest.raises(FileExistsError, match="once"):
            pins.pin(table.fd, directory / "once")
        with pytest.raises(OSError, match=r"a pin's name has no '\.'"):
            pins.pin(table.fd, directory / "a.b")


def test_find_takes_the_usual_place(directory: Path) -> None:
    home = bpffs.find(directory)
    assert (home.path, home.lasting, home.note) == (directory, True, "")
    assert bpffs.is_bpffs(directory)
    home.close()


FIND_AND_PIN = """
import sys
from pathlib import Path
from hvchannel_softswitch.bpf import MapKind, bpffs, create_map, pins
home = bpffs.find(Path(sys.argv[1]))
with create_map(MapKind.ARRAY, 4, 4, 1, name="t_found") as table:
    pins.pin(table.fd, home.path / "found")
print(home.lasting, home.note)
"""


def in_a_mount_namespace(script: str, directory: Path) -> str:
    """Runs Python in a mount namespace of its own that does not see the bpffs at `directory`."""
    hide = 'mountpoint -q "$1" && umount "$1"; exec "$2" -c "$3" "$1"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", hide, "sh", str(directory)]
    done = subprocess.run([*command, sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("mounted", [True, False])
def test_pins_of_a_private_mount_namespace_outlive_it(directory: Path, mounted: bool) -> None:
    if mounted:
        bpffs.mount(directory)
    said = in_a_mount_namespace(FIND_AND_PIN, directory)
    assert said.startswith("True this process has a mount namespace of its own; pinning in")
    with Map.from_pin(directory / "found") as found:
        assert found.info.name == "t_found"


def test_pins_that_will_not_last_are_told(directory: Path) -> None:
    # The directory exists in the private namespace alone, so nothing can be mounted there outside of it.
    script = FIND_AND_PIN.replace("home = ", "Path(sys.argv[1]).mkdir(); home = ")
    hide = 'mount -t tmpfs none "$1"; exec "$2" -c "$3" "$1/inner"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", hide, "sh", str(directory)]
    done = subprocess.run([*command, sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "False this process has a mount namespace of its own, and no bpffs is in reach"
    )
    assert "`mount -t bpf bpf" in done.stdout
