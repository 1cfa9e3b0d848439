# SPDX-License-Identifier: Apache-2.0
"""The store: what was acknowledged is there after a kill -9, and only one process has it open."""

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hvchannel_control.store import Store, StoreError
from hvchannel_control.vif import Vif

VIF = Vif("vm1", "02:00:00:00:00:01", 2, 4094, IPv4Address("169.254.1.10"), 5002)

ENDLESS_ATTACHER = """
import sys
from ipaddress import IPv4Address
from pathlib import Path
from hvchannel_control.store import Store
from hvchannel_control.vif import Vif

store = Store(Path(sys.argv[1]))
for n in range(1, 100000):
    mac = f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}"
    store.attach(Vif(f"vm{n}", mac, n, 4094, IPv4Address(0xA9FE0100 + n)))
    print(n, flush=True)
    if n % 3 == 0:
        store.detach(f"vm{n - 1}")
        print(-(n - 1), flush=True)
"""


def test_kept_over_a_reopening(tmp_path: Path) -> None:
    store = Store(tmp_path / "x.db")
    store.attach(VIF)
    store.move("vm1", IPv4Address("169.254.1.11"))
    store.close()
    store = Store(tmp_path / "x.db")
    assert [str(vif.lip) for vif in store.vifs()] == ["169.254.1.11"]
    store.detach("vm1")
    assert store.vifs() == []
    store.close()


def test_a_failed_change_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Store(tmp_path / "x.db")
    store.attach(VIF)
    with pytest.raises(StoreError, match="UNIQUE"):
        store.attach(Vif("vm2", VIF.mac, 3, 4094, IPv4Address("169.254.1.11")))
    assert store.vifs() == [VIF]
    store.attach(Vif("vm2", "02:00:00:00:00:02", 3, 4094, IPv4Address("169.254.1.11")))
    store.close()


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    Store(tmp_path / "x.db").close()
    assert (tmp_path / "x.db").stat().st_mode & 0o777 == 0o600


def test_a_second_controller_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "x.db")
    store.attach(VIF)
    with pytest.raises(StoreError, match=r"x\.db: in use by another controller"):
        Store(tmp_path / "x.db")
    store.close()


def test_what_is_no_store_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is not a database, and long enough for SQLite to say so" * 10)
    with pytest.raises(StoreError, match="text: file is not a database"):
        Store(tmp_path / "text")
    with pytest.raises(StoreError, match="x: "):
        Store(tmp_path / "no" / "x")
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreError, match="schema version 99 is newer than 2"):
        Store(tmp_path / "newer.db")


VERSION_1 = """
CREATE TABLE lease (vif_id TEXT PRIMARY KEY, lip TEXT NOT NULL UNIQUE) STRICT, WITHOUT ROWID;
CREATE TABLE attachment (
    vif_id TEXT PRIMARY KEY REFERENCES lease (vif_id),
    mac TEXT NOT NULL UNIQUE,
    port INTEGER NOT NULL UNIQUE,
    vlan INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO lease VALUES ('vm1', '169.254.1.10');
INSERT INTO attachment VALUES ('vm1', '02:00:00:00:00:01', 2, 4094);
PRAGMA user_version = 1
"""


def test_a_store_from_before_logical_switches_is_read(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "x.db")
    old.executescript(VERSION_1)
    old.close()
    for _ in range(2):  # as it was, and as the first opening left it
        store = Store(tmp_path / "x.db")
        assert store.vifs()[0] == replace(VIF, vni=0)
        store.close()
    store = Store(tmp_path / "x.db")
    store.attach(Vif("vm2", "02:00:00:00:00:02", 2, 7, IPv4Address("169.254.1.11"), 5002))  # on the same port
    store.detach("vm1")
    assert [vif.vni for vif in store.vifs()] == [5002]
    store.close()


@pytest.mark.parametrize("acknowledged", [1, 10, 50])
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "x.db"
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS_ATTACHER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        heard = [int(process.stdout.readline()) for _ in range(acknowledged)]
        os.kill(process.pid, signal.SIGKILL)
        heard += [int(line) for line in process.stdout if line.endswith("\n")]
    store = Store(path)
    kept = {vif.vif_id for vif in store.vifs()}
    attached = {f"vm{n}" for n in heard if n > 0}
    detached = {f"vm{-n}" for n in heard if n < 0}
    # One change may have been made and not yet acknowledged.
    assert len((attached - detached) ^ kept) <= 1
    store.close()


@pytest.mark.parametrize("size", [0, 1000, 5000])
def test_a_damaged_store_refuses_with_the_remedy(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x.db"
    store = Store(path)
    store.attach(VIF)
    store.close()
    before = path.read_bytes()
    os.truncate(path, size)
    with pytest.raises(StoreError, match=rf"{path}: .*: put a copy of it back; or, .* remove {path}\*"):
        Store(path)
    path.write_bytes(before)
    store = Store(path)
    assert store.vifs() == [VIF]
    store.close()
