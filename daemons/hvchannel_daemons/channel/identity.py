# SPDX-License-Identifier: Apache-2.0
"""Who a certificate of the channel is for: a VIF's guest, or a hypervisor. Names of DNS in its subjectAltName, since
those are what a TLS library compares by itself."""

from typing import Final

HYPERVISOR: Final = "hypervisor.hvchannel"
_GUEST: Final = ".vif.hvchannel"
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def guest_name(vif: str) -> str:
    """The name of a VIF's guest: "vm1.vif.hvchannel". Names are compared without regard to case and a dot divides them,
    so all but a-z, 0-9 and "-" of a VIF's id is spelled _XX, in hexadecimal: no two VIFs have one name."""
    return "".join(c if c in _PLAIN else f"_{ord(c):02x}" for c in vif) + _GUEST
