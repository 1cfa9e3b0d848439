# SPDX-License-Identifier: Apache-2.0
"""Atomic groups: several documents of one VIF that its local programs see together or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass

from hvchannel_daemons import limits


@dataclass(frozen=True, slots=True)
class Member:
    """What becomes of one key."""

    key: str
    content: bytes | None  # None: it is deleted
    content_type: str = ""


def check_group(vif: str, members: Sequence[Member]) -> None:
    """Raises ValueError, which names the member, when they cannot be put as one group."""
    limits.check_vif(vif)
    if not 1 <= len(members) <= limits.GROUP_DOCUMENTS:
        raise ValueError(f"a group of {len(members)} documents (valid: 1 to {limits.GROUP_DOCUMENTS})")
    keys: set[str] = set()
    size = 0
    for member in members:
        limits.check_key(member.key)
        limits.check_content_type(member.content_type)
        limits.check_size(len(member.content or b""))
        if member.key in keys:
            raise ValueError(f"key {member.key!r} is in the group twice")
        keys.add(member.key)
        size += len(member.content or b"")
    if size > limits.GROUP_BYTES:
        raise ValueError(f"a group of {size} bytes is too large (at most {limits.GROUP_BYTES} bytes)")
