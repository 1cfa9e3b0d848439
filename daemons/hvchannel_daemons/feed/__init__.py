# SPDX-License-Identifier: Apache-2.0
"""The feed: where the control plane puts what each VIF shall have, and reads what came of it."""

from hvchannel_daemons.feed.interface import (
    Ack,
    Changes,
    Delivery,
    Document,
    Feed,
    FeedClaimedError,
    FeedError,
    Outcome,
    Report,
    Session,
    SessionState,
    StoredReport,
)
from hvchannel_daemons.feed.sqlite import SqliteFeed
from hvchannel_daemons.storage.pieces import ContentGone

__all__ = [
    "Ack",
    "Changes",
    "ContentGone",
    "Delivery",
    "Document",
    "Feed",
    "FeedClaimedError",
    "FeedError",
    "Outcome",
    "Report",
    "Session",
    "SessionState",
    "SqliteFeed",
    "StoredReport",
    "open_feed",
]


async def open_feed(where: str, *, create: bool = True) -> Feed:
    """Opens the feed at `where`: the path of an SQLite file. Raises FeedError, also when there is none and
    `create` does not allow to make it."""
    return await SqliteFeed.open(where, create=create)
