# SPDX-License-Identifier: Apache-2.0
"""What network drivers do for the kernel's own stack, switched so that an XDP program sees and sends whole frames.

Who sends to a port must compute its own checksums, cut its own segments and write VLAN tags into the frame: XDP sees
what is in the frame, and a redirect forgets what was noted beside it. Who receives from a port must take frames that
never were an skb: a veth does with GRO on (or an XDP program of its own). Both are the veth's other end. Of the port's
own interface, hardware must leave tags and frames as they came, and drop none for its address or its tag: a port is
promiscuous, as a bridge's is. (virtio-net drops what is tagged for a VLAN interface that is not there.)

What was changed is kept in a file, so that a later process can put it back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import closing, suppress
from pathlib import Path

import structlog

from hvchannel_softswitch.xdp.features import Feature, Features
from hvchannel_softswitch.xdp.interfaces import Interface, Interfaces
from hvchannel_softswitch.xdp.offload_records import Changes, Record, Records
from hvchannel_softswitch.xdp.peers import KnownNamespaces, Peer, find_peer, plain_socket

log = structlog.get_logger(__name__)

_PEER_COMMAND = "ethtool -K {} tx off tso off txvlan off gro on"


class Offload:
    """Keeps the offload settings of the ports' interfaces, and of those at the other end of their veths."""

    def __init__(self, interfaces: Interfaces, file: Path | None = None) -> None:
        """`file` keeps what to restore, and is taken up when it is there; None: this process alone knows."""
        self._interfaces = interfaces
        self._kept = Records(file)
        self._records = self._kept.by_port
        self._namespaces: KnownNamespaces = {}
        self._unreachable: set[int] = set()

    def apply(self, port: int, interface: Interface, *, generic: bool) -> None:
        """Sets what `port` needs; logs what that changes. To be called before the program is attached, and again when
        the interface's state has changed, as others may have set something since. Never raises: what cannot be set is
        logged."""
        if port in self._records and self._records[port].ifindex != interface.index:
            self.restore(port)
        record = self._records.setdefault(port, Record(interface.name, interface.index))
        with closing(Features(plain_socket())) as features:
            self._change(features, interface.name, "", port, record.own, _own(interface, generic))
        self._take_all(port, interface, record.own)
        try:
            peer = find_peer(self._interfaces, interface, self._namespaces)
        except OSError as error:
            log.warning("peer_out_of_reach", interface=interface.name, reason=str(error))
            return
        if peer is None:
            return
        if peer.socket is None:
            self._warn(port, interface, peer)
            return
        with closing(Features(peer.socket)) as features:
            self._change(features, peer.name, peer.namespace, port, record.peer, _PEER)

    def restore(self, port: int) -> None:
        """Puts back what was changed for `port`, after its program was detached (before, a veth refuses segmentation
        offload). Never raises."""
        record = self._records.pop(port, None)
        if record is None:
            return
        with suppress(OSError):  # gone meanwhile, with its other end
            interface = self._interfaces.find(record.interface)
            if interface is not None and interface.index == record.ifindex:
                if _PROMISCUOUS in record.own:
                    self._interfaces.set_promiscuous(interface.index, record.own.pop(_PROMISCUOUS))
                with closing(Features(plain_socket())) as features:
                    _restore(features, interface.name, "", record.own)
                self._restore_peer(interface, record.peer)
        self._kept.save(port)

    def restore_all(self, but: Collection[int] = ()) -> None:
        """`restore` for every port, except those of `but`. Never raises."""
        for port in set(self._records) - set(but):
            self.restore(port)

    def _restore_peer(self, interface: Interface, before: Changes) -> None:
        peer = find_peer(self._interfaces, interface, self._namespaces)
        if peer is not None and peer.socket is not None:
            with closing(Features(peer.socket)) as features:
                _restore(features, peer.name, peer.namespace, before)

    def _take_all(self, port: int, interface: Interface, before: Changes) -> None:
        if interface.is_promiscuous:
            return
        try:
            before.setdefault(_PROMISCUOUS, False)
            self._kept.save(port)
            self._interfaces.set_promiscuous(interface.index, True)
        except OSError as error:
            log.warning("not_promiscuous", interface=interface.name, reason=str(error))

    def _change(
        self,
        features: Features,
        name: str,
        namespace: str,
        port: int,
        before: Changes,
        rules: Mapping[str, bool],
    ) -> None:
        try:
            found = features.read(name)
            changes = _needed(found, rules)
            if not changes:
                return
            for feature in changes:
                before.setdefault(feature, found[feature].wanted)
            # first: should this process die in between, its successor restores what needs no restoring
            self._kept.save(port)
            features.want(name, changes)
            left = _needed(features.read(name), rules)
        except OSError as error:
            log.warning("offload_not_set", interface=name, **_where(namespace), reason=str(error))
            return
        log.info("offload_set", interface=name, **_where(namespace), **_listed(changes))
        if left:
            log.warning("offload_not_set", interface=name, **_where(namespace), **_listed(left))

    def _warn(self, port: int, interface: Interface, peer: Peer) -> None:
        if interface.index in self._unreachable:
            return
        self._unreachable.add(interface.index)
        log.warning(
            "peer_not_in_sight",
            note="the other end of this port's veth is in a network namespace that is not in sight: unless it is set "
            "there, frames to it vanish and frames from it arrive with wrong checksums",
            port=port,
            interface=interface.name,
            namespace=peer.namespace,
            remedy=_PEER_COMMAND.format(peer.name),
        )


_PROMISCUOUS = "promiscuous"
"""Kept among the features, where an earlier version that finds it passes over it: no feature has that name."""

_PEER: Changes = {
    "tx-checksum-": False,
    "tx-segmentation": False,
    "tx-gso-list": False,
    "tx-vlan-hw-insert": False,
    "tx-vlan-stag-hw-insert": False,
    "rx-gro": True,
}
"""By name, but for tx-checksum- and tx-segmentation, which stand for all kinds of each."""

_WORDS = {
    "tx-checksum-": "tx checksums",
    "tx-segmentation": "segmentation",
    "tx-gso-list": "segmentation",
    "tx-vlan-hw-insert": "VLAN insertion",
    "tx-vlan-stag-hw-insert": "VLAN insertion",
    "rx-gro": "GRO",
}
"""For logs, where eighteen names would hide what they say."""


def _own(interface: Interface, generic: bool) -> Changes:
    rules: Changes = {"rx-lro": False, "rx-gro-hw": False}
    if interface.kind != "veth":  # whose tags are the sender's doing
        rules |= {"rx-vlan-hw-parse": False, "rx-vlan-stag-hw-parse": False}
    if generic:  # which comes after GRO, and would be shown several frames as one
        rules["rx-gro"] = False
    return rules


def _rule(name: str) -> str:
    if name.startswith("tx-checksum-"):
        return "tx-checksum-"
    # tx-generic-segmentation is the kernel's own, done before the driver sees a frame.
    if name.startswith("tx-") and name.endswith("-segmentation") and name != "tx-generic-segmentation":
        return "tx-segmentation"
    return name


def _needed(found: Mapping[str, Feature], rules: Mapping[str, bool]) -> Changes:
    """What is to change, of what can be. A feature that is on but not wanted (GRO, where another switch has an XDP
    program) would be off again without notice."""
    return {
        name: rules[_rule(name)]
        for name, feature in found.items()
        if _rule(name) in rules
        and feature.changeable
        and not (feature.active and feature.wanted if rules[_rule(name)] else not feature.active)
    }


def _restore(features: Features, name: str, namespace: str, before: Changes) -> None:
    if before:
        features.want(name, before)
        log.info("offload_restored", interface=name, **_where(namespace), **_listed(before))


def _where(namespace: str) -> dict[str, str]:
    return {"namespace": namespace} if namespace else {}


def _listed(changes: Changes) -> dict[str, str]:
    """The features in words: those that go on, those that go off."""
    words = {
        side: {_WORDS.get(_rule(name), name) for name, on in changes.items() if on is side}
        for side in (True, False)
    }
    return {"on" if side else "off": ", ".join(sorted(listed)) for side, listed in words.items() if listed}
