# SPDX-License-Identifier: Apache-2.0
"""LIP leases: always the lowest free one, never one twice, and an exhaustion that names its pool."""

from ipaddress import IPv4Address

import pytest
from hvchannel_control.config import PoolSection
from hvchannel_control.leases import LeaseTable, PoolExhaustedError
from hypothesis import given
from hypothesis import strategies as st

BASE = int(IPv4Address("169.254.1.10"))


def pool(size: int, excluded: frozenset[int] = frozenset()) -> PoolSection:
    return PoolSection(
        first=IPv4Address(BASE),
        last=IPv4Address(BASE + size - 1),
        excluded=frozenset(IPv4Address(BASE + offset) for offset in excluded),
    )


def test_lowest_free_first_and_the_same_for_the_same_vif() -> None:
    leases = LeaseTable(pool(4))
    assert [str(leases.lease(vif)) for vif in ("a", "b", "a")] == [
        "169.254.1.10",
        "169.254.1.11",
        "169.254.1.10",
    ]
    leases.release("a")
    assert str(leases.lease("c")) == "169.254.1.10"
    assert str(leases.lease("a")) == "169.254.1.12"


def test_exhaustion_names_pool_used_and_total() -> None:
    leases = LeaseTable(pool(3, frozenset({1})))
    leases.lease("a")
    leases.lease("b")
    with pytest.raises(
        PoolExhaustedError, match=r"no LIP is left in pool 169\.254\.1\.10-169\.254\.1\.12: 2 of 2 leased"
    ):
        leases.lease("c")
    leases.release("a")
    assert leases.lease("c") == IPv4Address(BASE)


@pytest.mark.parametrize(
    ("vif", "lip", "complaint"),
    [
        ("b", "169.254.9.9", "is not in pool"),
        ("b", "169.254.1.10", "is leased to VIF 'a'"),
        ("a", "169.254.1.11", "has"),
    ],
)
def test_a_kept_lease_that_does_not_fit_is_refused(vif: str, lip: str, complaint: str) -> None:
    leases = LeaseTable(pool(3))
    leases.restore("a", IPv4Address(BASE))
    with pytest.raises(ValueError, match=complaint):
        leases.restore(vif, IPv4Address(lip))


VIFS = st.sampled_from([f"vm{n}" for n in range(8)])
STEPS = st.lists(st.tuples(st.booleans(), VIFS), max_size=60)


@given(
    size=st.integers(1, 6),
    excluded=st.frozensets(st.integers(0, 5), max_size=3),
    restored=st.dictionaries(VIFS, st.integers(0, 5), max_size=4),
    steps=STEPS,
)
def test_it_agrees_with_a_table_of_all_addresses(
    size: int, excluded: frozenset[int], restored: dict[str, int], steps: list[tuple[bool, str]]
) -> None:
    usable = [offset for offset in range(size) if offset not in excluded]
    if not usable:
        return
    leases, model = LeaseTable(pool(size, excluded)), dict[str, int]()
    for vif, offset in restored.items():
        if offset in usable and offset not in model.values():
            leases.restore(vif, IPv4Address(BASE + offset))
            model[vif] = offset
    for wants_lease, vif in steps:
        free = [offset for offset in usable if offset not in model.values()]
        if not wants_lease:
            leases.release(vif)
            model.pop(vif, None)
        elif vif in model or free:
            model.setdefault(vif, free[0] if free else -1)
            assert leases.lease(vif) == IPv4Address(BASE + model[vif])
        else:
            with pytest.raises(PoolExhaustedError):
                leases.lease(vif)
        assert leases.used == len(model)
        assert leases.total == len(usable)
        assert {vif: leases.of(vif) for vif in model} == {v: IPv4Address(BASE + o) for v, o in model.items()}
