# SPDX-License-Identifier: Apache-2.0
"""Which VIF this process is the guest of, for the lines of its log: known once the hypervisor has said it, kept by the
store."""

_known: dict[str, str] = {}


def known(vif: str) -> None:
    """The VIF's id; empty: not known yet."""
    if vif:
        _known["vif"] = vif


def fields() -> dict[str, str]:
    """What every line of the log says of it."""
    return _known
