# SPDX-License-Identifier: Apache-2.0
"""Text and bytes as somebody else may have left them: damaged, cut short, or something quite different."""

import json
import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

MORE = 100 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 1
"""How many times as many examples as in a usual run; so docs/security.md tells."""


def examples(count: int) -> Callable[[Any], Any]:
    """So many in a usual run."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=count * MORE, deadline=None, suppress_health_check=checks)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "0x", "stored", "READY", "a" * 300, "\x1b[2J"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """`good`, with some bytes replaced, put in or taken out, and perhaps cut short."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        piece = draw(
            st.binary(max_size=8) | st.sampled_from([b"\xff" * 8, b"\0" * 8, b"[" * 2000, b'"', b"\n"])
        )
        data[at : at + draw(st.integers(0, 16))] = piece
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


@st.composite
def altered(draw: st.DrawFn, good: dict[str, Any]) -> str:
    """JSON of `good` with some of its values others, or missing; or something else."""
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return draw(damaged(json.dumps(good).encode())).decode(errors="replace")
    if kind == 1:
        return json.dumps(draw(JSON))
    if kind == 2:
        return "[" * 100_000
    said = dict(good)
    for name in draw(st.lists(st.sampled_from(sorted(said)), min_size=1, unique=True)):
        if draw(st.booleans()):
            said[name] = draw(JSON)
        else:
            del said[name]
    return json.dumps(said)
