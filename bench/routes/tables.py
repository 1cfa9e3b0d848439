# SPDX-License-Identifier: Apache-2.0
"""Fills a P4Runtime switch's tables with the controller's entries, and makes sure that they are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import cast

import finsy as fy
from hvchannel_control.compiled import find_program
from hvchannel_control.entries import Entry
from hvchannel_control.finsy_failures import FinsyFailures
from hvchannel_control.p4entries import decode, encode_all, wildcards
from hvchannel_control.reconcile import plan

from bench.routes.processes import SwitchError

DEVICE_ID = 1
_BATCH = 200  # updates per request: their errors must fit the 64 KiB of metadata that finsy takes
_ATTEMPT_S = 60.0


def fill(address: str, program: str, entries: Sequence[Entry]) -> None:
    """Sets the program as the switch's pipeline and writes the entries. Raises SwitchError."""
    with FinsyFailures(program) as failures:
        try:
            asyncio.run(_fill(address, program, entries))
        # finsy cancels its own caller when the set-up fails, and tells why in its log only.
        except (fy.P4ClientError, TimeoutError, asyncio.CancelledError, ExceptionGroup) as error:
            reason = str(failures.take() or error).partition("\n")[0]
            raise SwitchError(f"{program} at {address} cannot be filled: {reason or repr(error)}") from error


async def _fill(address: str, program: str, entries: Sequence[Entry]) -> None:
    compiled = find_program(program)
    options = fy.SwitchOptions(
        p4info=compiled.p4info, p4blob=compiled.device_config, device_id=DEVICE_ID, initial_election_id=10
    )
    async with asyncio.timeout(_ATTEMPT_S), fy.Switch(program, address, options) as switch:
        for updates in plan([], entries):
            for start in range(0, len(updates), _BATCH):
                await switch.write(encode_all(updates[start : start + _BATCH]))
        # finsy's overloads declare the async generator as a coroutine.
        found = cast(AsyncIterator[fy.P4TableEntry], switch.read(wildcards(switch.p4info)))
        decoded = [decode(entry) async for entry in found if not entry.is_const]
        held = [entry for entry in decoded if entry is not None]
    if differing := plan(held, entries):
        raise SwitchError(f"{program} at {address} holds other entries than were written: {differing[0][0]}")
