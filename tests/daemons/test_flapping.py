# SPDX-License-Identifier: Apache-2.0
"""A guest whose sessions keep opening and closing, and a record of a session that an earlier release wrote."""

import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel import channel_pb2_grpc
from hvchannel_daemons.feed import Feed, Session, SessionState
from hvchannel_daemons.feed.jetstream.records import Stored, decode_session, encode_session
from hvchannel_daemons.reasons import Reason


class Fickle(channel_pb2_grpc.ChannelServicer):
    """Begins every session as it should be, and ends it at once."""

    sessions = 0

    async def Session(self, request_iterator, context):  # noqa: N802 - gRPC's name
        async for message in request_iterator:
            if message.HasField("hello"):
                yield pb.GuestMessage(welcome=pb.Welcome(version=1, agent="fickle"))
                yield pb.GuestMessage(inventory=pb.Inventory(last=True))
            if message.HasField("synced"):
                self.sessions += 1
                yield pb.GuestMessage(closing=pb.Closing(reason=pb.Closing.SHUTTING_DOWN, message="bye"))
                return


@contextlib.asynccontextmanager
async def serving(address: str) -> AsyncIterator[Fickle]:
    guest, server = Fickle(), grpc.aio.server()
    channel_pb2_grpc.add_ChannelServicer_to_server(guest, server)
    server.add_insecure_port(address)
    await server.start()
    try:
        yield guest
    finally:
        await server.stop(None)


async def test_a_flapping_guest_is_damped_and_shown(
    rig, control, feed: Feed, port: int, short_dir: Path
) -> None:
    async def flapping() -> bool:
        session = (await feed.sessions()).get("vm1")
        return session is not None and session.state is SessionState.FLAPPING

    async with serving(f"127.0.0.11:{port}") as guest, rig.hostd(short_dir, port):
        control.attach("vm1", "127.0.0.11")
        await rig.eventually(flapping, "FLAPPING")
        session = (await feed.sessions())["vm1"]
        assert (session.code, session.error_code) == (Reason.GUEST_CLOSED, Reason.GUEST_CLOSED)
        assert session.reason == "guest: SHUTTING_DOWN: bye"
        assert session.sessions == session.attempts >= 3
        assert 0 < session.next_unix_ns - session.since_unix_ns <= 30e9
        assert session.since_unix_ns <= time.time_ns()
        await rig.eventually(another(guest, than=guest.sessions), "the attempts go on")


def another(guest: Fickle, than: int):
    async def came() -> bool:
        return guest.sessions > than

    return came


def test_a_session_record_of_another_release_is_read() -> None:
    older = {
        "vif": "vm1",
        "state": "READY",
        "reason": "",
        "since_unix_ns": 5,
        "address": "169.254.1.10:2345",
        "version": 1,
        "agent": "guest",
    }
    read = decode_session(Stored("", 1, {}, json.dumps(older).encode()))
    assert read == Session("vm1", SessionState.READY, "", 5, "169.254.1.10:2345", 1, "guest")
    newer = json.loads(encode_session(read)) | {"code": "FROM_THE_FUTURE", "mood": "good"}
    again = decode_session(Stored("", 2, {}, json.dumps(newer).encode()))
    assert again is not None and again.code is Reason.UNKNOWN
