# SPDX-License-Identifier: Apache-2.0
"""A guest that answers hostd with anything but the protocol: its own VIF says why, and nobody else notices."""

import time

import pytest
from hvchannel_daemons.feed import SessionState
from hvchannel_daemons.limits import MIB
from hvchannel_daemons.reasons import Reason

from tests.attacks.protocol import http2_attacks as attacks
from tests.attacks.protocol.world import Listener, Peer, World, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_HTTP2 = {Reason.PROTOCOL_ERROR}
TOO_MUCH = {Reason.LIMIT_EXCEEDED}
# a flood may be cut off by gRPC's own parser, by its keepalive (whose ping stands behind the flood), or by hostd's time
# to negotiate, which ever comes first on this machine
BUSY = {Reason.TIMEOUT, Reason.SILENT, Reason.LOST, Reason.PROTOCOL_ERROR, Reason.LIMIT_EXCEEDED}

QUICK = {
    "no HTTP/2": {
        attacks.random_bytes: NOT_HTTP2,
        attacks.zeros: NOT_HTTP2,
        attacks.http1: NOT_HTTP2,
        attacks.another_protocol: NOT_HTTP2,
        attacks.hangs_up: {Reason.LOST},
        attacks.settings_then_garbage: NOT_HTTP2,
    },
    "headers": {
        attacks.continuation_flood: TOO_MUCH,
        attacks.empty_continuations: NOT_HTTP2,
        attacks.header_of_a_gibibyte: TOO_MUCH,
        attacks.hpack_bomb: TOO_MUCH,
        attacks.trailers_for_a_terminal: {Reason.UNKNOWN},
        attacks.trailers_that_lie: {Reason.UNKNOWN},
    },
    "frames": {
        attacks.rapid_reset: {Reason.LOST},
        attacks.goaway_flood: {Reason.LOST, Reason.PROTOCOL_ERROR},
        attacks.huge_frame: NOT_HTTP2,
        attacks.beyond_the_window: BUSY,
        attacks.empty_messages: NOT_HTTP2,
    },
    "messages": {
        attacks.message_of_4_gibibytes: TOO_MUCH,
        attacks.compression_bomb: TOO_MUCH,
        attacks.garbled_message: NOT_HTTP2,
        attacks.bad_utf8: NOT_HTTP2,
    },
}

# each lasts until one of hostd's deadlines, 3 s to connect and 10 s to negotiate
SLOW = {
    attacks.silence: {Reason.TIMEOUT},
    attacks.deaf: {Reason.TIMEOUT},
    attacks.slow_loris: {Reason.TIMEOUT},
    attacks.tls_alert: {Reason.TIMEOUT},
    attacks.settings_then_silence: {Reason.SILENT},
    attacks.headers_by_the_second: {Reason.SILENT},
    attacks.message_that_never_ends: {Reason.SILENT},
    attacks.no_window: {Reason.SILENT},
    attacks.html: {Reason.SILENT},
}

FLOODS = {
    "of connections": [
        attacks.settings_flood,
        attacks.ping_flood,
        attacks.ping_flood_answers_read,
        attacks.window_overflow,
    ],
    "of streams": [
        attacks.window_trickle,
        attacks.pushed,
        attacks.priorities,
        attacks.unknown_frames,
    ],
}


@pytest.mark.parametrize("group", QUICK)
async def test_a_broken_peer_is_named_and_dialled_again(world: World, group: str) -> None:
    await _all_at_once(world, QUICK[group], dialled=2)


async def test_slow_peers_meet_a_deadline(world: World) -> None:
    """Each holds a connection, and none holds hostd."""
    await _all_at_once(world, SLOW, dialled=1)


async def _all_at_once(world: World, codes: dict[Peer, set[Reason]], dialled: int) -> None:
    listeners = {attack: Listener(attack) for attack in codes}
    began = time.monotonic()
    async with world.attacked({_vif(attack): listener.serving for attack, listener in listeners.items()}):
        for attack, expected in codes.items():
            await world.failed(_vif(attack), expected)
        for attack, listener in listeners.items():
            await eventually(lambda one=listener: _dialled(one, dialled), f"another attempt: {_vif(attack)}")
        await world.honest_is_served(4)
    for listener in listeners.values():
        # pauses of 0.05 s at least, that double to half a second at least: load makes the attempts fewer
        assert listener.connections <= 6 + 2 * (time.monotonic() - began)


def _vif(attack: Peer) -> str:
    return attack.__name__.replace("_", "-")


@pytest.mark.parametrize("group", FLOODS)
async def test_floods_of_frames_need_no_memory(world: World, group: str) -> None:
    """As fast as this machine can: a hundred times what a VIF's policer lets through."""
    listeners = {attack: Listener(attack) for attack in FLOODS[group]}
    async with world.attacked({_vif(attack): listener.serving for attack, listener in listeners.items()}):
        for attack, listener in listeners.items():
            await eventually(lambda one=listener: _sent(one, 16 * MIB), f"16 MiB of it: {_vif(attack)}")
        await world.honest_is_served(10)


async def test_a_window_that_stays_shut_is_given_up(world: World, vif: str) -> None:
    """The guest lives, and takes nothing of the 64 MiB that wait for it."""
    listener = Listener(attacks.settled_but_no_window)
    revision = await world.feed.put(vif, "image", bytes(64 * MIB), "")
    async with world.attacked({vif: listener.serving}):
        await eventually(lambda: _is_in(world, vif, SessionState.SYNCING), "the session")
        await world.honest_is_served(20)
        assert await _is_in(world, vif, SessionState.SYNCING)
        delivery = await world.feed.delivery(vif, "image")
        assert delivery is not None
        assert (delivery.document.revision, delivery.acknowledged) == (revision, 0)


async def _dialled(listener: Listener, times: int) -> bool:
    return listener.connections >= times


async def _sent(listener: Listener, size: int) -> bool:
    return listener.taken >= size or listener.connections >= 2


async def _is_in(world: World, vif: str, state: SessionState) -> bool:
    session = await world.session(vif)
    return session is not None and session.state is state
