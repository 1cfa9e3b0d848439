# SPDX-License-Identifier: Apache-2.0
"""What a session has still to send: when the guest has caught up."""

import asyncio

import pytest
from hvchannel_daemons.feed import Ack, Document, Outcome
from hvchannel_daemons.hostd import untrusted
from hvchannel_daemons.hostd.outbox import Outbox


def _document(revision: int, position: int) -> Document:
    return Document("vm1", "key", revision, "", b"", 1, False, position, 0, 1)


async def test_a_key_that_changes_all_the_time_does_not_keep_a_guest_from_catching_up() -> None:
    """When the session began revision 1 was wanted. That a newer one is always under way is not the guest's fault."""
    outbox = Outbox(asyncio.Event(), {}, backlog_until=1)
    assert outbox.wanted(_document(1, 1))
    outbox.begun(_document(1, 1))
    outbox.sent(_document(1, 1))
    assert outbox.wanted(_document(2, 2))
    outbox.begun(_document(2, 2))
    assert not outbox.caught_up
    outbox.answered("key", 1, retry=False)
    assert outbox.caught_up
    outbox.close()


async def test_one_that_could_not_store_it_has_not_caught_up() -> None:
    outbox = Outbox(asyncio.Event(), {}, backlog_until=1)
    assert outbox.wanted(_document(1, 1))
    outbox.begun(_document(1, 1))
    outbox.answered("key", 1, retry=True)
    assert not outbox.caught_up
    outbox.close()


@pytest.mark.parametrize(
    ("outcome", "error", "again"),
    [
        (Outcome.REJECTED, "content has SHA-256 d13577f6..., declared was 9e3eee7f...", True),
        (Outcome.REJECTED, "the guest holds 16384 documents already, which is the most", False),
        (Outcome.FAILED, "database or disk is full", True),
        (Outcome.STORED, "", False),
    ],
)
def test_what_was_damaged_on_its_way_is_sent_again(outcome: Outcome, error: str, again: bool) -> None:
    assert untrusted.is_temporary(Ack("key", 1, outcome, 0, error)) is again
