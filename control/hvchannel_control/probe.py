# SPDX-License-Identifier: Apache-2.0
"""Probes a VIF: frames to its guest by PacketOut, their fate by the counters of the entries that they hit."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from hvchannel_control.api import control_pb2
from hvchannel_control.entries import Count, Entry
from hvchannel_control.inspection import Found
from hvchannel_control.probe_frames import ECHO_BYTES, RST_AT_MOST, Ends, echo_request, syn

GUEST_TCP_PORT = 2345
_COPIES = 3  # of each kind of frame: one may be lost on a busy machine
_TAKEN_WITHIN_S = 10.0
_ANSWER_WITHIN_S = 1.0
_POLL_S = 0.02
_PORTS = range(20_000, 30_000)  # below the kernel's ephemeral ones (32768 and above)

_sources = itertools.cycle(_PORTS)


@dataclass(frozen=True, slots=True)
class Route:
    """How frames to a VIF and their answers pass the host vSwitch."""

    vni: int
    ends: Ends
    to: Sequence[Entry]  # entries that a frame for the guest meets, in order; of each only this VIF's traffic
    back: Sequence[Entry]  # those that an answer meets, while they are the VIF's own


Read = Callable[[Sequence[Entry]], Awaitable[Found]]
Send = Callable[[Sequence[bytes]], Awaitable[None]]


async def probe(route: Route, tcp_port: int, read: Read, send: Send) -> control_pb2.ProbeResult:
    """Raises what `read` and `send` do."""
    entries = (*route.to, *route.back)
    result = control_pb2.ProbeResult
    before = await read(entries)
    identifiers = [next(_sources) for _ in range(_COPIES)]

    await send([echo_request(route.ends, identifier, 1) for identifier in identifiers])
    _, rise = await _risen(route, before, read, lambda count: count.bytes >= ECHO_BYTES)
    echo = result.ANSWERED if rise.bytes >= ECHO_BYTES else result.NONE

    middle = await read(entries)
    await send([syn(route.ends, port, tcp_port or GUEST_TCP_PORT, port) for port in identifiers])
    after, rise = await _risen(route, middle, read, lambda count: count.packets >= _COPIES)
    tcp = result.NONE
    if rise.packets:
        tcp = result.ANSWERED if rise.bytes > RST_AT_MOST * rise.packets else result.REFUSED
    return result(
        sent=2 * _COPIES,
        to=[_step(entry, before, after) for entry in route.to],
        back=[_step(entry, before, after) for entry in route.back],
        echo=echo,
        tcp=tcp,
    )


async def _risen(
    route: Route, before: Found, read: Read, enough: Callable[[Count], bool]
) -> tuple[Found, Count]:
    """Reads until the last entry that answers meet has risen enough, or for as long as an answer may take from
    when the vSwitch has taken the frames in: the first PacketOut of its life may cost it a moment."""
    entries, last = (*route.to, *route.back), route.back[-1]
    clock = asyncio.get_running_loop().time
    deadline, taken = clock() + _TAKEN_WITHIN_S, False
    while True:
        now = await read(entries)
        rise = _rise(last, before, now)
        if not taken and _rise(route.to[0], before, now).packets >= _COPIES:
            deadline, taken = clock() + _ANSWER_WITHIN_S, True
        if enough(rise) or clock() > deadline:
            return now, rise
        await asyncio.sleep(_POLL_S)


def _rise(entry: Entry, before: Found, after: Found) -> Count:
    """Of an entry's counter; one that was written anew in between begins at 0."""
    _, was = before.get(entry.key, (entry, Count(0, 0)))
    _, now = after.get(entry.key, (entry, Count(0, 0)))
    if now.packets < was.packets:
        return now
    return Count(now.packets - was.packets, now.bytes - was.bytes)


def _step(entry: Entry, before: Found, after: Found) -> control_pb2.ProbeStep:
    rise = _rise(entry, before, after)
    return control_pb2.ProbeStep(
        table=entry.table, count=control_pb2.Count(packets=rise.packets, bytes=rise.bytes)
    )
