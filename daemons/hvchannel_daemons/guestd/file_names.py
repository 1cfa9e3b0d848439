# SPDX-License-Identifier: Apache-2.0
"""Which file a document is: a key's "/" makes folders, and what no file can be called is spelled with a "%".

So two keys never share a file, and no key leaves the directory or reaches what guestd keeps beside the documents.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

RESERVED: Final = ".hvchannel"  # guestd's own folder beside the documents
SELF: Final = "%self"  # a document whose key is a folder of others, in that folder

_NAME_BYTES: Final = 240  # a file system takes 255
_SPELLED: Final = {"": "%empty", ".": "%dot", "..": "%dotdot", RESERVED: f"%{RESERVED}"}


def names(key: str) -> tuple[str, ...]:
    """The names on the way to the document, the last of which is its file's (or, for a folder of others, SELF's)."""
    return tuple(name for part in key.split("/") for name in _spelled(part))


def _spelled(part: str) -> Iterator[str]:
    while len(part) > _NAME_BYTES:
        yield part[:_NAME_BYTES] + "%"  # goes on in the folder of this name
        part = part[_NAME_BYTES:]
    yield _SPELLED.get(part, part)


def key_of(path: str) -> str | None:
    """The key whose file this path is, or would be if the right others were there; None when it is no key's."""
    way = tuple(path.split("/"))
    if way[-1] == SELF:
        way = way[:-1]
    meant = {spelled: part for part, spelled in _SPELLED.items()}
    key = ""
    for name in way:
        key += name[:-1] if len(name) > _NAME_BYTES else meant.get(name, name) + "/"
    key = key.removesuffix("/")
    return key if way and names(key) == way else None


class Folders:
    """Where the documents of a changing set of keys are."""

    def __init__(self) -> None:
        self._below: Counter[tuple[str, ...]] = Counter()
        self._documents: dict[tuple[str, ...], str] = {}

    def __contains__(self, key: str) -> bool:
        return names(key) in self._documents

    def path(self, key: str) -> str:
        """Relative to the directory, whether the key is in the set or not."""
        way = names(key)
        return "/".join((*way, SELF) if self._below[way] else way)

    def add(self, key: str) -> list[str]:
        """Returns the keys of the set whose path changes by it: those that become folders."""
        way = names(key)
        self._documents[way] = key
        return self._count(way, 1, becomes=1)

    def remove(self, key: str) -> list[str]:
        """Returns the keys of the set whose path changes by it: those that are no folders any more."""
        way = names(key)
        del self._documents[way]
        return self._count(way, -1, becomes=0)

    def _count(self, way: tuple[str, ...], by: int, *, becomes: int) -> list[str]:
        moved = []
        for depth in range(1, len(way)):
            folder = way[:depth]
            self._below[folder] += by
            if self._below[folder] == becomes:
                if not becomes:
                    del self._below[folder]
                if folder in self._documents:
                    moved.append(self._documents[folder])
        return moved
