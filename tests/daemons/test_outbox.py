# SPDX-License-Identifier: Apache-2.0
"""What a session has still to send: when the guest has caught up."""

import asyncio

from hvchannel_daemons.feed import Document
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
