# SPDX-License-Identifier: Apache-2.0
"""What libvirt's qemu hook does at each of its calls (libvirt's docs/hooks.rst).

libvirt waits for it, with the domain locked: nothing here calls libvirt. Its stdout must stay empty, as that would
become the domain's XML.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from hvchannel_control.libvirt import port_interface
from hvchannel_control.libvirt.attaching import Attaching, AttachingError
from hvchannel_control.libvirt.domain import Domain, DomainError, parse


class OnFailure(enum.StrEnum):
    """What becomes of a domain that is to start, and whose VIFs cannot be attached."""

    START = "start"
    REFUSE = "refuse"


MAY_REFUSE = ("prepare", "start")
"""Where a failure keeps a domain from starting, and does no other harm: at `reconnect` libvirt would kill it."""


def run(operation: str, xml: str, attaching: Callable[[], Attaching], say: Callable[[str], None]) -> bool:
    """One call. False when something of it could not be done, which `say` was told."""
    act = {
        "prepare": _attach,  # nothing is made yet; the VIF's port need not have its interface
        "start": _set_apart,  # the taps are there, QEMU is not
        "reconnect": _take_up,
        "attach": _take_up,
        "release": _detach,
    }.get(operation)
    if act is None:  # started, stopped, migrate, restore, and whatever libvirt may have one day
        return True
    try:
        domain = parse(xml)
    except DomainError as error:
        say(str(error))
        return False
    try:
        act(domain, attaching, say)
    except (AttachingError, OSError) as error:
        for line in str(error).splitlines():
            say(f"domain {domain.name!r}: {line}")
        return False
    return True


def _attach(domain: Domain, attaching: Callable[[], Attaching], say: Callable[[str], None]) -> None:
    for vif in domain.vifs:
        if not vif.is_plugged:
            names = ", ".join(domain.interfaces) or "none"
            say(
                f"domain {domain.name!r}: VIF {vif.vif_id!r} waits for an interface with the target device "
                f"{vif.interface!r} (there now: {names})"
            )
    attaching().attach(domain)


def _set_apart(domain: Domain, attaching: Callable[[], Attaching], say: Callable[[str], None]) -> None:
    for interface in {vif.interface for vif in domain.plugged}:
        port_interface.set_apart(interface)


def _take_up(domain: Domain, attaching: Callable[[], Attaching], say: Callable[[str], None]) -> None:
    """libvirt found a domain that runs already: what was missed meanwhile is made up for."""
    attaching().sync(domain)
    _set_apart(domain, attaching, say)


def _detach(domain: Domain, attaching: Callable[[], Attaching], say: Callable[[str], None]) -> None:
    attaching().detach(domain)
