# SPDX-License-Identifier: Apache-2.0
"""Watching: a snapshot, its end, then every change; a slow listener is told the last of each VIF."""

from hvchannel_control.api import control_pb2
from hvchannel_control.watchers import Watchers


def vif(vif_id: str, lip: str = "") -> control_pb2.Vif:
    return control_pb2.Vif(vif_id=vif_id, lip=lip)


def show(event: control_pb2.Event) -> str:
    match event.WhichOneof("event"):
        case "attached":
            return f"+{event.attached.vif_id}{event.attached.lip}"
        case "detached":
            return f"-{event.detached}"
        case _:
            return "synced"


async def test_snapshot_then_synced_then_changes() -> None:
    watchers = Watchers()
    events = watchers.watch(lambda: [vif("a"), vif("b")])
    heard = [show(await anext(events)) for _ in range(3)]
    watchers.attached(vif("c"))
    heard.append(show(await anext(events)))
    watchers.detached("a")
    heard.append(show(await anext(events)))
    assert heard == ["+a", "+b", "synced", "+c", "-a"]


async def test_a_change_during_the_snapshot_is_not_missed() -> None:
    watchers = Watchers()
    events = watchers.watch(lambda: [vif("a"), vif("b")])
    heard = [show(await anext(events))]
    watchers.detached("b")
    heard += [show(await anext(events)) for _ in range(3)]
    assert heard == ["+a", "+b", "synced", "-b"]


async def test_a_slow_listener_hears_the_last_of_each_vif_and_of_a_replacement_both() -> None:
    watchers = Watchers()
    events = watchers.watch(list)
    await anext(events)
    for n in range(1000):
        watchers.attached(vif("a", str(n)))
        watchers.detached("b")
        watchers.attached(vif("b", str(n)))
    watchers.attached(vif("c"))
    watchers.detached("c")
    watchers.close()
    assert [show(event) async for event in events] == ["+a999", "-b", "+b999", "-c"]
