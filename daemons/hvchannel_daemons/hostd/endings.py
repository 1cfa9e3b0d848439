# SPDX-License-Identifier: Apache-2.0
"""Why attempts and sessions end: exceptions turned into a code for programs and one line for people."""

from typing import Final

import grpc

from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel import transport
from hvchannel_daemons.channel.closing import SessionOver, told
from hvchannel_daemons.channel.pulse import PeerSilent
from hvchannel_daemons.feed import FeedAwayError, FeedError
from hvchannel_daemons.hostd.route import WrongRoute
from hvchannel_daemons.hostd.states import Ending
from hvchannel_daemons.reasons import Reason

_OVER: Final = {
    pb.Closing.VERSION_MISMATCH: Reason.VERSION_MISMATCH,
    pb.Closing.PROTOCOL_ERROR: Reason.PROTOCOL_ERROR,
    pb.Closing.LIMIT_EXCEEDED: Reason.LIMIT_EXCEEDED,
    pb.Closing.SILENT: Reason.SILENT,
    pb.Closing.DETACHED: Reason.DETACHED,
    pb.Closing.SHUTTING_DOWN: Reason.SHUTTING_DOWN,
}


class GuestClosed(SessionOver):
    """The guest ended the session, and said why or did not."""

    def __init__(self, closing: pb.Closing | None) -> None:
        line = f"guest: {told(closing)}" if closing is not None else "the guest ended the stream"
        super().__init__(pb.Closing.REASON_UNSPECIFIED, line)
        mismatch = closing is not None and closing.reason == pb.Closing.VERSION_MISMATCH
        self.code = Reason.VERSION_MISMATCH if mismatch else Reason.GUEST_CLOSED


class CallEnded(Exception):  # noqa: N818 - as the others here
    """A call that had been connected ended with an error, gRPC's own or the guest's."""

    def __init__(self, code: grpc.StatusCode, details: str | None) -> None:
        super().__init__(f"{code.name}: {details}")
        self.status = code
        self.details = details


class AckOverdue(SessionOver):
    """The guest lives but does not answer a document."""

    def __init__(self, message: str) -> None:
        super().__init__(pb.Closing.SILENT, message)


def ending(error: Exception, address: str) -> Ending:
    """What ended an attempt to reach the guest at `address`, or a session with it."""
    match error:
        case WrongRoute():
            return Ending(Reason.NO_ROUTE, str(error))
        case grpc.aio.AioRpcError():
            return Ending(*transport.cause(error.code(), error.details(), address))
        case CallEnded():
            return Ending(*transport.broken(error.status, error.details, address))
        case TimeoutError():
            return Ending(Reason.TIMEOUT, str(error) or f"no answer from {address} in time")
        case PeerSilent():
            return Ending(Reason.SILENT, f"guest is silent: {error}")
        case GuestClosed():
            return Ending(error.code, str(error))
        case AckOverdue():
            return Ending(Reason.ACK_OVERDUE, str(error))
        case SessionOver():
            return Ending(_OVER.get(error.reason, Reason.UNKNOWN), str(error))
        case FeedAwayError():
            return Ending(Reason.FEED_AWAY, str(error))
        case FeedError():
            return Ending(Reason.FEED_FAILED, str(error))
    return Ending(Reason.INTERNAL, f"internal error: {type(error).__name__}: {error}")
