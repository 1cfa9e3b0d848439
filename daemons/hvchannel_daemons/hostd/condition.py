# SPDX-License-Identifier: Apache-2.0
"""How hostd fares, for its health: has it its feed, and does the controller tell it which VIFs there are."""

from hvchannel_telemetry.health import Health

from hvchannel_daemons.feed import Feed


class Condition:
    """Set by those who know; read by those who ask."""

    def __init__(self) -> None:
        self.feed: Feed | None = None  # once it is claimed
        self.feed_away = "not reached yet"  # why there is none yet
        self.controller_away = "not reached yet"

    def health(self) -> Health:
        """One part per thing hostd depends on. A VIF whose guest is away is no trouble of hostd's."""
        return Health({"feed": self._feed, "controller": lambda: self.controller_away})

    def _feed(self) -> str:
        return self.feed_away if self.feed is None else self.feed.away
