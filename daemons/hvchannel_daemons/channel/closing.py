# SPDX-License-Identifier: Apache-2.0
"""How a session ends: with a reason of the protocol and one line for people."""

from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel.transport import printable

_MESSAGE_LENGTH = 512


class SessionOver(Exception):  # noqa: N818 - the regular end of every session
    """Ends a session from inside one of its tasks."""

    def __init__(self, reason: pb.Closing.Reason.ValueType, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def closing(self) -> pb.Closing:
        """What the peer is told."""
        return pb.Closing(reason=self.reason, message=str(self)[:_MESSAGE_LENGTH])


def told(closing: pb.Closing) -> str:
    """One line on why the peer ended the session; its text is untrusted, so bounded and printable."""
    known = closing.reason in pb.Closing.Reason.values()
    name = pb.Closing.Reason.Name(closing.reason) if known else str(closing.reason)
    text = printable(closing.message, _MESSAGE_LENGTH)
    return f"{name}: {text}" if text else name


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The exception that ended a session's task group. When several tasks failed at once, the session's own
    reason says more than what followed from it."""
    flat: list[BaseException] = []
    stack: list[BaseException] = [group]
    while stack:
        error = stack.pop()
        if isinstance(error, BaseExceptionGroup):
            stack.extend(error.exceptions)
        else:
            flat.append(error)
    return next((error for error in flat if isinstance(error, SessionOver)), flat[0])
