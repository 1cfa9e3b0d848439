# SPDX-License-Identifier: Apache-2.0
"""How long a look-up in the kernel may take: the compiled program's loops have bounds, which no insertion may pass."""

from __future__ import annotations

from hvchannel_softswitch.engine import LookUpTooLong
from hvchannel_softswitch.xdp.layout import GROUPS, MAX_CHAIN

_INSTEAD = "run the switch with --engine interpreter, which has no such bound"


def chain_too_long(table: str) -> LookUpTooLong:
    """In a table of exact keys."""
    return LookUpTooLong(
        f"table {table!r}: {MAX_CHAIN} entries share this one's hash, and a look-up visits no more; {_INSTEAD}"
    )


def too_many_groups(table: str) -> LookUpTooLong:
    """In any other table."""
    return LookUpTooLong(
        f"table {table!r}: its entries have {GROUPS} different masks or prefix lengths, the most that there is room "
        f"for; {_INSTEAD}"
    )


def too_many_steps(table: str, groups: int, longest: int, most: int) -> LookUpTooLong:
    """In any other table."""
    return LookUpTooLong(
        f"table {table!r}: with {groups} different masks or prefix lengths, and up to {longest} entries of one hash, "
        f"a look-up could take {steps(groups, longest)} steps, and it visits no more than {most}; {_INSTEAD}"
    )


def steps(groups: int, longest: int) -> int:
    """The most that a look-up visits: each mask group, and for each a chain, which may be the longest one."""
    return groups * (1 + longest)
