# SPDX-License-Identifier: Apache-2.0
"""What the first release left on a disk, taken up by this one; and what a later one left, refused. (The controller's
store: tests/control/test_control_store.py.)"""

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hvchannel_daemons.feed import Outcome, SqliteFeed
from hvchannel_daemons.guestd.client import GuestClient
from hvchannel_daemons.guestd.store_tables import VERSION

STORED = Path(__file__).parent / "stored"


def restore(name: str, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = sqlite3.connect(path)
    database.executescript((STORED / name).read_text())
    database.close()


def dump(path: Path) -> list[str]:
    database = sqlite3.connect(path)
    lines = list(database.iterdump())
    database.close()
    return lines


async def test_what_the_first_release_stored_is_taken_up_at_both_ends(
    rig, control, processes, short_dir: Path, begun: list[tuple[str, int]]
) -> None:
    """Documents, tombstones, acks, revisions and reports, with nothing delivered a second time."""
    restore("feed_1.sql", short_dir / "feed.db")
    restore("guest_1.sql", short_dir / "vm1" / "store" / "store.db")
    control.attach("vm1", "127.0.0.11")
    async with rig.guestd(
        short_dir / "vm1", f"127.0.0.11:{processes.port}", files=short_dir / "vm1" / "documents"
    ):
        processes.hostd()
        feed = await SqliteFeed.open(short_dir / "feed.db")
        async with asyncio.timeout(30):
            delivery = await feed.settled("vm1", "waiting", 1)
            assert delivery.outcome is Outcome.STORED
            await feed.settled("vm1", "net/config", 2)

        async def both_reports() -> bool:
            return len(await feed.reports("vm1")) == 2

        await rig.eventually(both_reports, "the report that the guest had queued")
        assert [stored.report.data for stored in await feed.reports("vm1")] == [b"ok", b"queued"]
        assert begun == [("waiting", 1)]
        assert await feed.put("vm1", "gone", b"again", "text/plain") == 3  # after its tombstone
        async with asyncio.timeout(30):
            await feed.settled("vm1", "gone", 3)
        with GuestClient(short_dir / "vm1" / "guestd.sock") as client:
            held = {d.key: d.revision for d in await asyncio.to_thread(lambda: list(client.documents()))}
        # the hypervisor never sent net/other: another release's, and kept as long as nobody deletes it
        assert held == {"net/config": 2, "net/other": 7, "waiting": 1, "gone": 3}
        await feed.close()
    assert (short_dir / "vm1" / "documents" / "net" / "config").read_bytes() == b"two"


@pytest.mark.parametrize("program", ["hostd", "guestd"])
def test_what_a_later_release_stored_is_refused_in_one_line(program: str, short_dir: Path) -> None:
    path = short_dir / "feed.db" if program == "hostd" else short_dir / "store" / "store.db"
    restore("feed_1.sql" if program == "hostd" else "guest_1.sql", path)
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()
    before = dump(path)
    arguments = {
        "hostd": ["--control", f"{short_dir}/control.sock", "--feed", str(path)],
        "guestd": ["run", "--state", str(path.parent), "--socket", f"{short_dir}/guestd.sock"],
    }[program]
    module = f"from hvchannel_daemons.{program}.main import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", module, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    said = [line for line in ended.stderr.splitlines() if line.startswith(f"{program}: ")]
    assert len(said) == 1, ended.stderr
    assert (
        f"{path}: schema version {VERSION + 1} is newer than {VERSION}, the newest this one reads" in said[0]
    )
    assert dump(path) == before
