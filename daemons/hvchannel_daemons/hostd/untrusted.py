# SPDX-License-Identifier: Apache-2.0
"""What a guest says, checked before the hypervisor believes it: a guest may be hostile.

Every function raises SessionOver with PROTOCOL_ERROR or LIMIT_EXCEEDED when the guest breaks the protocol.
"""

from typing import Final

from hvchannel_daemons import limits
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel.closing import SessionOver
from hvchannel_daemons.channel.transport import printable
from hvchannel_daemons.feed import Ack, Outcome, Report

_ERROR_LENGTH: Final = 512
_TIME_MAX: Final = 2**63 - 1

_OUTCOMES: Final = {
    pb.DocumentAck.STORED: Outcome.STORED,
    pb.DocumentAck.DUPLICATE: Outcome.DUPLICATE,
    pb.DocumentAck.STALE: Outcome.STALE,
    pb.DocumentAck.REJECTED: Outcome.REJECTED,
    pb.DocumentAck.FAILED: Outcome.FAILED,
}


def add_inventory(held: dict[str, int], part: pb.Inventory) -> None:
    _check_count(len(part.entries), limits.INVENTORY_PART, "entries in one part of the guest's inventory")
    try:
        for entry in part.entries:
            held[limits.check_key(entry.key)] = limits.check_revision(entry.revision)
    except ValueError as error:
        raise SessionOver(pb.Closing.PROTOCOL_ERROR, f"guest's inventory: {error}") from error
    _check_count(len(held), limits.LIVE_DOCUMENTS, "documents in the guest's inventory")


def acks(message: pb.DocumentAcks) -> list[Ack]:
    _check_count(len(message.acks), limits.ACKS_TOGETHER, "acks in one message of the guest")
    return [_ack(ack) for ack in message.acks]


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise SessionOver(pb.Closing.LIMIT_EXCEEDED, f"{count} {what} (at most {most})")


def _ack(ack: pb.DocumentAck) -> Ack:
    outcome = _OUTCOMES.get(ack.outcome)
    if outcome is None:
        raise SessionOver(
            pb.Closing.PROTOCOL_ERROR, f"guest's ack has outcome {ack.outcome}, which is not valid"
        )
    if outcome in (Outcome.STORED, Outcome.DUPLICATE):
        return Ack(ack.key, ack.revision, outcome, ack.revision)
    try:
        limits.check_held(ack.key, ack.held_revision, ack.revision)
    except ValueError as error:
        raise SessionOver(pb.Closing.PROTOCOL_ERROR, f"guest's ack: {error}") from error
    line = printable(ack.error, _ERROR_LENGTH)
    if outcome is Outcome.STALE:
        line = f"the guest holds newer revision {ack.held_revision}; put the document again"
    return Ack(ack.key, ack.revision, outcome, ack.held_revision, line)


def is_temporary(ack: Ack) -> bool:
    return ack.outcome is Outcome.FAILED


def report(message: pb.Report, *, after: int) -> Report:
    """`after`: the sequence of the report before this one in the session."""
    try:
        limits.check_report(message.type, message.content_type, len(message.data), message.about_key)
    except ValueError as error:
        raise SessionOver(pb.Closing.PROTOCOL_ERROR, f"guest's report: {error}") from error
    if len(message.id) != 16:
        raise SessionOver(
            pb.Closing.PROTOCOL_ERROR, f"guest's report: id of {len(message.id)} bytes (valid: 16)"
        )
    if not after < message.sequence <= limits.REVISION_MAX:
        raise SessionOver(
            pb.Closing.PROTOCOL_ERROR, f"guest's report: sequence {message.sequence} after {after}"
        )
    return Report(
        id=message.id,
        sequence=message.sequence,
        type=message.type,
        content_type=message.content_type,
        data=message.data,
        time_unix_ns=min(message.time_unix_ns, _TIME_MAX),
        about_key=message.about_key,
        about_revision=min(message.about_revision, limits.REVISION_MAX),
    )
