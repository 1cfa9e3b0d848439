# SPDX-License-Identifier: Apache-2.0
"""Leases of LIPs: one per VIF, the lowest free address of the pool."""

import heapq
from ipaddress import IPv4Address

from hvchannel_control.config import PoolSection


class PoolExhaustedError(Exception):
    """No LIP is free; the text names the pool, and how many of how many are used."""


class LeaseTable:
    """Who has which LIP. In memory: `store.Store` keeps it over restarts."""

    def __init__(self, pool: PoolSection) -> None:
        self._pool = pool
        self._by_vif: dict[str, IPv4Address] = {}
        self._by_lip: dict[IPv4Address, str] = {}
        # Free are the released ones and all from `_untouched` upwards, without those leased or excluded.
        self._released: list[int] = []
        self._untouched = int(pool.first)

    @property
    def used(self) -> int:
        return len(self._by_vif)

    @property
    def total(self) -> int:
        return self._pool.total

    def of(self, vif_id: str) -> IPv4Address | None:
        return self._by_vif.get(vif_id)

    def lease(self, vif_id: str) -> IPv4Address:
        """The VIF's LIP: the one it has, else the lowest free one. Raises PoolExhaustedError."""
        held = self._by_vif.get(vif_id)
        if held is not None:
            return held
        lip = self._take_lowest()
        self._by_vif[vif_id] = lip
        self._by_lip[lip] = vif_id
        return lip

    def restore(self, vif_id: str, lip: IPv4Address) -> None:
        """Takes over a lease that was kept. Raises ValueError when it does not fit the pool or clashes."""
        if not self._pool.holds(lip):
            raise ValueError(f"LIP {lip} of VIF {vif_id!r} is not in pool {self._pool}")
        if lip in self._by_lip:
            raise ValueError(f"LIP {lip} of VIF {vif_id!r} is leased to VIF {self._by_lip[lip]!r}")
        if vif_id in self._by_vif:
            raise ValueError(f"VIF {vif_id!r} has LIP {self._by_vif[vif_id]} already")
        self._by_vif[vif_id] = lip
        self._by_lip[lip] = vif_id

    def release(self, vif_id: str) -> None:
        """Ends the VIF's lease, if it has one."""
        lip = self._by_vif.pop(vif_id, None)
        if lip is not None:
            del self._by_lip[lip]
            heapq.heappush(self._released, int(lip))

    def _take_lowest(self) -> IPv4Address:
        # Every released address below `_untouched` is lower than any above it. One at or above it (a restored
        # lease, released since) is found again from below, so its place in the heap is skipped by then.
        while self._released and self._released[0] < self._untouched:
            lip = IPv4Address(heapq.heappop(self._released))
            if lip not in self._by_lip:
                return lip
        while self._untouched <= int(self._pool.last):
            lip = IPv4Address(self._untouched)
            self._untouched += 1
            if lip not in self._by_lip and self._pool.holds(lip):
                return lip
        raise PoolExhaustedError(f"no LIP is left in pool {self._pool}: {self.used} of {self.total} leased")
