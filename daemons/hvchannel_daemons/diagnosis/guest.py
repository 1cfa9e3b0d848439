# SPDX-License-Identifier: Apache-2.0
"""The hops in the VM, as far as its hypervisor can tell: what a probe brings back, and what sessions say."""

import time
from typing import Final

from hvchannel_control.api import control_pb2 as pb

from hvchannel_daemons.command_output import ago
from hvchannel_daemons.diagnosis.evidence import Evidence, FromController, FromGuest
from hvchannel_daemons.diagnosis.hops import Hop, broken, ok, unknown
from hvchannel_daemons.diagnosis.hypervisor import is_up, wrong_entries
from hvchannel_daemons.feed import Session, SessionState
from hvchannel_daemons.reasons import Reason

_FRESH_NS: Final = 5_000_000_000
GUEST_SWITCH, GUESTD = "guest vSwitch", "guestd"


def guest_switch_hop(evidence: Evidence) -> Hop:
    controller = evidence.controller
    if not _probed(controller):
        if is_up(evidence.feed.session):
            return ok(GUEST_SWITCH, "the session is up")
        return unknown(GUEST_SWITCH, "no probe could be sent")
    assert controller is not None
    probe = controller.probe
    arrived = {step.table: step.count.packets for step in probe.back}
    if arrived.get("restore"):
        return ok(GUEST_SWITCH, f"answers to the probe came back: {_answers(probe)}")
    vif = controller.inspection.vif
    if arrived.get("attachment"):
        return broken(
            GUEST_SWITCH,
            "answers arrive with another source than the VIF's and are dropped as spoofed",
            f"compare the guest's MAC and address with {vif.mac} and {vif.cip} (in the VM: ip address)",
        )
    if evidence.guest is None:
        return broken(
            GUEST_SWITCH,
            f"{probe.sent} probe frames left for the VM, and nothing came back",
            f"in the VM, see that its vSwitch runs and is in sync (hvchannel vswitch), and that its MAC is {vif.mac} "
            "(ip link)",
        )
    return _by_guest(evidence, evidence.guest, probe, vif)


def _by_guest(evidence: Evidence, guest: FromGuest, probe: pb.ProbeResult, vif: pb.Vif) -> Hop:
    """Nothing came back; the guest's controller says more."""
    nothing = f"{probe.sent} probe frames left for the VM, nothing came back"
    if guest.error:
        return broken(
            GUEST_SWITCH,
            f"{nothing}, and {guest.error}",
            "in the VM, start its controller, which programs the vSwitch: hvchannel-control guest --config FILE",
        )
    if guest.after.error:
        return broken(
            GUEST_SWITCH,
            f"{nothing}, and its controller says: {guest.after.error}",
            "in the VM, start its vSwitch, or end it when it hangs: softswitch or simple_switch_grpc",
        )
    wrong = wrong_entries(guest.after)
    if wrong:
        return broken(
            GUEST_SWITCH,
            f"{nothing}; it is not programmed: {wrong}",
            "in the VM, see its controller's log; hvchannel vswitch there says why it is not in sync",
        )
    own = guest.after.vif
    if own.mac != vif.mac:
        return broken(
            GUEST_SWITCH,
            f"{nothing}: the VIF is attached with MAC {vif.mac}, and the VNIC's is {own.mac}",
            f"hvchannel detach {evidence.vif}; hvchannel attach {evidence.vif} --mac {own.mac} --port {vif.port}",
        )
    if own.vlan != vif.vlan:
        return broken(
            GUEST_SWITCH,
            f"{nothing}: the VIF is attached with VLAN {vif.vlan}, and the guest expects {own.vlan}",
            f"hvchannel detach {evidence.vif}; hvchannel attach {evidence.vif} --mac {vif.mac} --port {vif.port} "
            f"--vlan {own.vlan}",
        )
    return _by_counters(guest, nothing, own)


def _by_counters(guest: FromGuest, nothing: str, own: pb.Vif) -> Hop:
    if not guest.rise("attachment", shared=True):  # of the VNIC's end
        return broken(
            GUEST_SWITCH,
            f"{nothing}: they did not arrive there, though its tables are right",
            "see that the VNIC of the VM is the one at this port, and that the vSwitch is not stuck",
        )
    if not guest.rise("forward", shared=False):  # to guestd's end
        return broken(
            GUEST_SWITCH,
            f"{nothing}: they arrived there and were not forwarded, though its tables are right",
            "in the VM, hvchannel vswitch shows which verdict grows",
        )
    state = pb.Link.State.Name(own.link.state)
    return broken(
        GUEST_SWITCH,
        f"{nothing}: it forwards them to guestd's interface {own.link.interface} ({state}), whose kernel is silent",
        "in the VM, see that guestd's interface is up and has the guest's address: ip address",
    )


def guestd_hop(evidence: Evidence) -> Hop:
    session, controller = evidence.feed.session, evidence.controller
    if not _probed(controller):
        return _by_session_alone(session)
    assert controller is not None
    probe = controller.probe
    if probe.tcp == pb.ProbeResult.REFUSED:
        return broken(
            GUESTD,
            "the guest's kernel answers, and refuses connections: nothing listens",
            "in the VM, start it: guestd run --listen 169.254.1.2:2345 ...",
        )
    if probe.tcp == pb.ProbeResult.NONE:
        if probe.echo == pb.ProbeResult.ANSWERED:
            return broken(
                GUESTD,
                "the guest answers a ping, and no connection",
                "in the VM, see that nothing filters guestd's TCP port: nft list ruleset",
            )
        return unknown(GUESTD, "nothing comes back from the VM")
    if evidence.feed.error:
        return unknown(GUESTD, "the guest takes connections; the feed would know what comes of them")
    return _listening(session)


def _listening(session: Session | None) -> Hop:
    """The guest takes connections; what comes of them?"""
    if session is None:
        return unknown(GUESTD, "the guest takes connections; no hostd tells what comes of them")
    if is_up(session):
        return _up(session)
    code, line = session.code or session.error_code, session.reason or session.error
    match code:
        case Reason.VERSION_MISMATCH:
            return broken(
                GUESTD, line, "bring guestd and hostd to releases with a protocol version in common"
            )
        case Reason.SILENT | Reason.TIMEOUT | Reason.ACK_OVERDUE:
            return broken(
                GUESTD,
                f"it takes connections and says nothing ({line}): it hangs",
                "in the VM, end it and start it again: pkill -KILL guestd",
            )
        case Reason.NONE | Reason.REFUSED | Reason.NO_ARP | Reason.NO_ROUTE | Reason.CONTENDED:
            # it listens by now, or the reason is elsewhere
            return unknown(GUESTD, f"the guest takes connections; session {session.state}")
    if session.state is SessionState.BACKOFF and time.time_ns() - session.error_unix_ns < _FRESH_NS:
        return unknown(GUESTD, f"the session ended just now ({code}: {line}), and is begun anew")
    return broken(GUESTD, f"{code}: {line}", "in the VM, see guestd's log")


def _by_session_alone(session: Session | None) -> Hop:
    if session is not None and is_up(session):
        return _up(session)
    return unknown(GUESTD, "no probe could be sent" + (f"; session {session.state}" if session else ""))


def _up(session: Session) -> Hop:
    version = f"protocol version {session.version}"
    if session.state is SessionState.READY:
        return ok(GUESTD, f"{session.agent}, {version}; READY, begun {ago(session.since_unix_ns)}")
    return ok(GUESTD, f"{session.agent}, {version}; {session.state}: it gets what it lacks")


def _probed(controller: FromController | None) -> bool:
    return controller is not None and not controller.error and bool(controller.probe.sent)


def _answers(probe: pb.ProbeResult) -> str:
    words = {pb.ProbeResult.NONE: "none", pb.ProbeResult.ANSWERED: "yes", pb.ProbeResult.REFUSED: "refused"}
    return f"ping {words[probe.echo]}, TCP {words[probe.tcp]}"
