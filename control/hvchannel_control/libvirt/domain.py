# SPDX-License-Identifier: Apache-2.0
"""What a libvirt domain's XML says of the channel."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from xml.etree import ElementTree

from hvchannel_control.addresses import normalise_mac

NAMESPACE = "urn:hvchannel:domain:1"
"""Of the element in `<metadata>`."""

_CHANNEL, _VIF = f"{{{NAMESPACE}}}channel", f"{{{NAMESPACE}}}vif"
_ATTRIBUTES = ("id", "dev", "port", "mac", "vni", "vlan")
_VIF_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class DomainError(ValueError):
    """The XML is none of a domain's, or what it says of the channel is not valid; the text is one line."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A VIF that a domain has. `port`, `vni` and `vlan` 0: by the controller's configuration."""

    vif_id: str
    interface: str
    mac: str  # of the domain's interface, unless the element has one; empty: no such interface is plugged in
    port: int = 0
    vni: int = 0
    vlan: int = 0

    @property
    def is_plugged(self) -> bool:
        """Whether the domain has the interface now."""
        return bool(self.mac)


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain, as far as the channel goes. `interfaces`: its target devices."""

    name: str
    uuid: str
    vifs: tuple[Wanted, ...]
    interfaces: tuple[str, ...]

    @property
    def plugged(self) -> tuple[Wanted, ...]:
        """The VIFs whose interfaces are there."""
        return tuple(vif for vif in self.vifs if vif.is_plugged)


def parse(text: str) -> Domain:
    """Reads a domain's XML, as `virsh dumpxml` prints it and a hook gets it. Raises DomainError."""
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - libvirt wrote it, or root did
    except ElementTree.ParseError as error:
        raise DomainError(f"not XML: {error}") from error
    if root.tag != "domain":
        raise DomainError(f"<{root.tag}> is not a domain")
    name, uuid = root.findtext("name") or "", root.findtext("uuid") or ""
    if not name:
        raise DomainError("a domain without a name")
    macs = _macs(root)
    vifs = tuple(_wanted(name, element, macs) for element in root.iterfind(f"metadata/{_CHANNEL}/{_VIF}"))
    for vif_id, times in Counter(vif.vif_id for vif in vifs).items():
        if times > 1:
            raise DomainError(f"domain {name!r}: {times} VIFs {vif_id!r}; give each an id of its own")
    return Domain(name, uuid or name, vifs, tuple(macs))


def _macs(root: ElementTree.Element) -> dict[str, str]:
    """MACs of the interfaces by their target devices."""
    found = {}
    for interface in root.iterfind("devices/interface"):
        target, mac = interface.find("target"), interface.find("mac")
        if target is not None and mac is not None:
            found[target.get("dev", "")] = mac.get("address", "")
    found.pop("", None)
    return found


def _wanted(name: str, element: ElementTree.Element, macs: dict[str, str]) -> Wanted:
    where = f"domain {name!r}: <vif>"
    for attribute in element.keys():  # noqa: SIM118 - an Element is no dict
        if attribute not in _ATTRIBUTES:
            raise DomainError(f"{where}: no attribute {attribute!r} (valid: {', '.join(_ATTRIBUTES)})")
    interface = element.get("dev", "")
    if not interface:
        raise DomainError(f"{where}: lacks dev, the target device of the domain's interface (dev='hvc2')")
    vif_id = element.get("id", name)
    if not _VIF_ID.fullmatch(vif_id):
        raise DomainError(
            f"{where}: id {vif_id!r} is not 1 to 63 of [A-Za-z0-9._-], beginning with a letter or digit"
            + ("" if "id" in element.keys() else "; the domain's name is none: give id")  # noqa: SIM118
        )
    numbers = {what: _number(where, what, element.get(what)) for what in ("port", "vni", "vlan")}
    mac = macs.get(interface, "")
    if mac and (own := element.get("mac")):
        try:
            mac = normalise_mac(own)
        except ValueError as error:
            raise DomainError(f"{where}: mac: {error}") from error
    return Wanted(vif_id, interface, mac, **numbers)


def _number(where: str, what: str, text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdecimal()) or not 1 <= (number := int(text)) < 1 << 24:
        raise DomainError(f"{where}: {what} {text!r} is not a number above 0")
    return number
