# SPDX-License-Identifier: Apache-2.0
"""Idle timeouts: what an entry keeps, how long ago it was hit, and the notifications to the primary."""

from __future__ import annotations

import pytest
from finsy.proto import p4r

FRAME = bytes.fromhex("00000000000a 00000000000b 0806")
SECOND = 1_000_000_000


def _entry(names, source: int = 0xB, timeout: int = SECOND, **fields) -> p4r.TableEntry:
    entry = names.entry("idle_table", names.action("to_port", port=2), src=source)
    entry.idle_timeout_ns = timeout
    for name, value in fields.items():
        setattr(entry, name, value)
    return entry


def _entity(entry: p4r.TableEntry) -> p4r.Entity:
    return p4r.Entity(table_entry=entry)


def _sweep(rig) -> None:
    rig.switch.engine.sweep_idle()


async def test_the_timeout_is_read_as_it_was_written(everything, names):
    entry = _entry(names, timeout=12345)
    await everything.write("INSERT", _entity(entry))
    assert await everything.read(_entity(entry)) == [_entity(entry)]
    await everything.write("MODIFY", _entity(_entry(names, timeout=0)))
    assert await everything.read(_entity(entry)) == [_entity(_entry(names, timeout=0))]


async def test_the_time_since_the_last_hit_is_read_when_asked_for(rig, everything, names, clock):
    await everything.write("INSERT", _entity(_entry(names, timeout=0)))
    clock.now += 5 * SECOND
    rig.switch.inject(1, FRAME)
    clock.now += 3 * SECOND
    wanted = p4r.TableEntry(table_id=names.table_id("idle_table"))
    wanted.time_since_last_hit.SetInParent()
    ((found),) = await everything.read(_entity(wanted))
    assert found.table_entry.time_since_last_hit.elapsed_ns == 3 * SECOND
    ((plain),) = await everything.read(_entity(p4r.TableEntry(table_id=wanted.table_id)))
    assert not plain.table_entry.HasField("time_since_last_hit")


async def test_idle_entries_come_in_one_notification(rig, everything, names, clock):
    entries = [_entry(names, n, metadata=b"m", controller_metadata=n) for n in (1, 2)]
    await everything.write("INSERT", *map(_entity, entries), _entity(_entry(names, 0xB, timeout=0)))
    clock.now += SECOND - 1
    _sweep(rig)
    clock.now += 1
    _sweep(rig)
    notification = (await everything.receive()).idle_timeout_notification
    assert notification.timestamp > 0
    for entry in entries:
        entry.ClearField("action")
    assert list(notification.table_entry) == entries


async def test_a_hit_puts_the_notification_off_and_it_comes_again(rig, everything, names, clock):
    await everything.write("INSERT", _entity(_entry(names)))
    clock.now += SECOND // 2
    rig.switch.inject(1, FRAME)
    clock.now += SECOND // 2
    _sweep(rig)
    for _ in range(2):
        clock.now += SECOND
        _sweep(rig)
        assert len((await everything.receive()).idle_timeout_notification.table_entry) == 1


async def test_an_entry_deleted_meanwhile_is_not_notified(rig, everything, names, clock):
    await everything.write("INSERT", _entity(_entry(names, 1)), _entity(_entry(names, 2)))
    clock.now += SECOND
    _sweep(rig)
    # The loop has not been free since the sweep: the deletion is what it does first.
    engine = rig.switch.engine
    (first, _) = engine.entries("ingress.idle_table")
    engine.delete("ingress.idle_table", first.key)
    (entry,) = (await everything.receive()).idle_timeout_notification.table_entry
    assert entry.match[0].exact.value == b"\2"


async def test_a_backup_gets_no_notification(rig, everything, names, clock):
    async with rig.client() as backup:
        await backup.claim(0)
        await everything.write("INSERT", _entity(_entry(names)))
        clock.now += SECOND
        _sweep(rig)
        assert (await everything.receive()).HasField("idle_timeout_notification")
        await backup.send_claim(0)
        assert (await backup.receive()).HasField("arbitration")


_NO_TIMEOUT = "table 'profile_table' does not support idle timeout"


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            "INSERT",
            lambda e, n: setattr(e, "idle_timeout_ns", -1),
            "table 'idle_table': idle_timeout_ns -1 is negative (valid: 0, for never, or more)",
        ),
        (
            "INSERT",
            lambda e, n: e.time_since_last_hit.SetInParent(),
            "table 'idle_table': time_since_last_hit must be unset in a write, it is only read",
        ),
        (
            "INSERT",
            lambda e, n: setattr(e, "table_id", n.table_id("profile_table")),
            _NO_TIMEOUT,
        ),
        (
            "MODIFY",
            lambda e, n: e.CopyFrom(
                p4r.TableEntry(table_id=n.table_id("idle_table"), is_default_action=True, idle_timeout_ns=1)
            ),
            "the default entry of table 'idle_table' does not support idle timeout",
        ),
    ],
)
async def test_refused(everything, names, kind, change, message):
    entry = _entry(names)
    change(entry, names)
    assert await everything.refused(kind, _entity(entry)) == ("INVALID_ARGUMENT", message)


async def test_reads_of_idle_times_that_are_not_kept(everything, names):
    for wanted in (
        p4r.TableEntry(table_id=names.table_id("profile_table")),
        p4r.TableEntry(table_id=names.table_id("idle_table"), is_default_action=True),
    ):
        wanted.time_since_last_hit.SetInParent()
        with pytest.raises(everything.BatchError) as caught:
            await everything.read(_entity(wanted))
        assert caught.value.errors[0][0] == "INVALID_ARGUMENT"
