# SPDX-License-Identifier: Apache-2.0
"""Reads the evidence hop by hop, in the order in which a document passes them."""

from hvchannel_daemons.diagnosis.evidence import Evidence
from hvchannel_daemons.diagnosis.guest import guest_switch_hop, guestd_hop
from hvchannel_daemons.diagnosis.hops import Diagnosis
from hvchannel_daemons.diagnosis.hypervisor import (
    controller_hop,
    feed_hop,
    host_switch_hop,
    hostd_hop,
    vnic_hop,
)

_HOPS = (feed_hop, hostd_hop, controller_hop, host_switch_hop, vnic_hop, guest_switch_hop, guestd_hop)


def walk(evidence: Evidence) -> Diagnosis:
    return Diagnosis(evidence.vif, tuple(hop(evidence) for hop in _HOPS))
