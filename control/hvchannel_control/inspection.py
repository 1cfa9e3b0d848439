# SPDX-License-Identifier: Apache-2.0
"""What a vSwitch holds for one VIF, entry by entry, against what it should hold."""

from collections.abc import Iterable

from hvchannel_control.api import control_pb2
from hvchannel_control.entries import Count, Entry, EntryKey

Found = dict[EntryKey, tuple[Entry, Count]]
"""Entries that a vSwitch holds, with their counters."""


def of_switch(entry: Entry, vni: int) -> bool:
    """Whether an entry of the hypervisor's end concerns that logical switch."""
    return dict((*entry.match, *entry.args)).get("vni", vni) == vni


def entry_states(
    wanted: Iterable[Entry], shared: set[EntryKey], found: Found
) -> list[control_pb2.EntryState]:
    """One per wanted entry, in that order. `shared`: those that are there whoever is attached."""
    return [_state(entry, entry.key in shared, found.get(entry.key)) for entry in wanted]


def _state(entry: Entry, shared: bool, found: tuple[Entry, Count] | None) -> control_pb2.EntryState:
    states = control_pb2.EntryState
    told = states(
        table=entry.table,
        match=entry.match_text,
        action=entry.action_text,
        shared=shared,
        state=states.MISSING,
    )
    if found is not None:
        holds, count = found
        told.count.CopyFrom(control_pb2.Count(packets=count.packets, bytes=count.bytes))
        told.state = states.PRESENT if holds == entry else states.DIFFERENT
        if holds != entry:
            meter = "" if holds.meter == entry.meter else f", meter {holds.meter}"
            told.found = holds.action_text + meter
    return told
