# SPDX-License-Identifier: Apache-2.0
"""The watcher, with a virsh that says what the test wants, for machines without libvirt. With a real one it is in
test_libvirt_real.py."""

import os
from pathlib import Path

import pytest

from tests.libvirt.hypervisor import Hypervisor, domain, interface, until

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
IF2, IF3 = interface("hvc2", "52:54:00:00:00:02"), interface("hvc3", "52:54:00:00:00:03")
# Domains are files, named by UUID; each line of `events` is one. Called as: virsh --quiet --connect URI COMMAND.
VIRSH = """#!/bin/sh
cd {folder}
case "$4" in
  "event --all --loop") exec tail -n 0 -f events ;;
  "list --uuid") ls domains ;;
  dumpxml*) for word in $4; do word=${{word%;}}; [ ! -e "domains/$word" ] || cat "domains/$word"; done ;;
esac
"""


class Virsh:
    """What it says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "domains").mkdir(parents=True)
        (folder / "events").touch()
        program = folder / "bin" / "virsh"
        program.parent.mkdir()
        program.write_text(VIRSH.format(folder=folder))
        program.chmod(0o755)
        self.path = f"{program.parent}:{os.environ['PATH']}"

    def has(self, name: str, xml: str | None) -> None:
        """Of this domain from now on; None: it does not run."""
        file = self._folder / "domains" / name
        file.unlink(missing_ok=True)
        if xml is not None:
            partial = self._folder / "partial"
            partial.write_text(xml + "\n")
            partial.rename(file)
        with (self._folder / "events").open("a") as events:
            events.write(f"event 'lifecycle' for domain '{name}': whatever\n")


@pytest.fixture
def virsh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Virsh:
    virsh = Virsh(tmp_path / "virsh")
    monkeypatch.setenv("PATH", virsh.path)
    return virsh


def until_attached(hypervisor: Hypervisor, *vif_ids: str) -> None:
    until(lambda: True if set(hypervisor.vifs()) == set(vif_ids) else None, f"attached are {vif_ids}")


def test_domains_and_their_interfaces_come_and_go(hypervisor: Hypervisor, virsh: Virsh) -> None:
    two = ("dev='hvc2'", "dev='hvc3' id='b'")
    virsh.has("1", domain(*two, uuid="1", interfaces=(IF2,)))
    hypervisor.start_watch()
    until_attached(hypervisor, "vm1")
    virsh.has("1", domain(*two, uuid="1", interfaces=(IF2, IF3)))
    until_attached(hypervisor, "vm1", "b")
    # one that cannot be read does not keep the others waiting
    virsh.has("2", domain("id='lacks-dev'", name="bad", uuid="2"))
    virsh.has("1", domain(*two, uuid="1", interfaces=(IF3,)))
    until_attached(hypervisor, "b")
    virsh.has("1", None)
    until_attached(hypervisor)
    log = (hypervisor.folder / "watch.log").read_text()
    assert "domain 'bad': <vif>: lacks dev" in log


def test_what_others_attached_is_let_alone(hypervisor: Hypervisor, virsh: Virsh) -> None:
    hypervisor.attach("by-hand", "52:54:00:00:00:09", 3)
    virsh.has("1", domain("dev='hvc2'", uuid="1", interfaces=(IF2,)))
    hypervisor.start_watch()
    until_attached(hypervisor, "vm1", "by-hand")
    virsh.has("1", None)
    until_attached(hypervisor, "by-hand")
