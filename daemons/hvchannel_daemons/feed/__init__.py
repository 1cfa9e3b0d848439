# SPDX-License-Identifier: Apache-2.0
"""The feed: where the control plane puts what each VIF shall have, and reads what came of it."""

from hvchannel_daemons.feed.groups import Member
from hvchannel_daemons.feed.interface import (
    HISTORY_REVISIONS,
    Ack,
    Claim,
    Contended,
    Delivery,
    Document,
    Feed,
    FeedAwayError,
    FeedClaimedError,
    FeedError,
    Outcome,
    Owner,
    QuotaError,
    Report,
    Session,
    SessionState,
    StoredReport,
)
from hvchannel_daemons.feed.location import Access, Location, NatsUrl, SqlitePath, parse
from hvchannel_daemons.feed.quotas import Quota, Usage
from hvchannel_daemons.feed.sqlite import SqliteFeed
from hvchannel_daemons.storage.pieces import ContentGone

__all__ = [
    "HISTORY_REVISIONS",
    "Access",
    "Ack",
    "Claim",
    "Contended",
    "ContentGone",
    "Delivery",
    "Document",
    "Feed",
    "FeedAwayError",
    "FeedClaimedError",
    "FeedError",
    "Location",
    "Member",
    "NatsUrl",
    "Outcome",
    "Owner",
    "Quota",
    "QuotaError",
    "Report",
    "Session",
    "SessionState",
    "SqliteFeed",
    "SqlitePath",
    "StoredReport",
    "Usage",
    "open_feed",
    "parse",
]


async def open_feed(where: str, access: Access | None = None, *, create: bool = True) -> Feed:
    """Opens the feed at `where`: the path of an SQLite file, or the URL of NATS servers (`location.FORMS`).

    Raises ValueError for a location that is none or does not go with `access`; FeedError, also when there is no feed
    and `create` does not allow to make it; FeedAwayError when servers cannot be reached now.
    """
    location, access = parse(where), access or Access()
    access.check(location)
    if isinstance(location, SqlitePath):
        return await SqliteFeed.open(location.path, create=create)
    # nats-py is loaded by those who use it
    from hvchannel_daemons.feed.jetstream.feed import NatsFeed  # noqa: PLC0415

    return await NatsFeed.open(location, access, create=create)
