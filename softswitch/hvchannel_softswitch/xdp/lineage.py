# SPDX-License-Identifier: Apache-2.0
"""Which slots an entry has been in. A modified entry moves to a new slot, while packets that found the old one still
count there and still note their time there; both belong to the entry until the old slot is used again."""

from __future__ import annotations

from collections.abc import Iterator


class Lineage:
    """Of the entries of one table: each slot's forebear, and each forebear's heir."""

    def __init__(self) -> None:
        self._forebears: dict[int, int] = {}
        self._heirs: dict[int, int] = {}

    def replace(self, old: int, new: int) -> None:
        """The entry in `old` is in `new` from now on."""
        self._forebears[new] = old
        self._heirs[old] = new

    def slots(self, slot: int) -> Iterator[int]:
        """The slot, and all before it that are not used again yet."""
        place: int | None = slot
        while place is not None:
            yield place
            place = self._forebears.get(place)

    def end(self, slot: int) -> int | None:
        """No packet sees the slot any more. Its heir, if it has one."""
        heir = self._heirs.pop(slot, None)
        if heir is not None:
            del self._forebears[heir]
        return heir
