# SPDX-License-Identifier: Apache-2.0
"""The hops on the hypervisor: feed, hostd, controller, host vSwitch, VNIC."""

from typing import Final

from hvchannel_control.api import control_pb2 as pb

from hvchannel_daemons.command_output import ago
from hvchannel_daemons.diagnosis.evidence import Evidence, FromController, FromFeed
from hvchannel_daemons.diagnosis.hops import Hop, broken, ok, unknown
from hvchannel_daemons.feed import Session, SessionState
from hvchannel_daemons.reasons import Reason

FEED, HOSTD, CONTROLLER = "feed", "hostd", "controller"
HOST_SWITCH, VNIC = "host vSwitch", "VNIC"
_SHOWN_ENTRIES: Final = 3


def feed_hop(evidence: Evidence) -> Hop:
    feed = evidence.feed
    if feed.error:
        if evidence.feed_at.startswith(("nats:", "tls:")):
            remedy = "start its servers (systemctl start nats-server), or name the right ones by --feed"
        else:
            remedy = f"look at the file (ls -l {evidence.feed_at}), or name the right one by --feed"
        return broken(FEED, feed.error, remedy)
    pending = f", {feed.pending} of them pending" if feed.pending else ""
    return ok(FEED, f"{evidence.feed_at} answers; documents for the VIF: {feed.documents}{pending}")


def hostd_hop(evidence: Evidence) -> Hop:
    feed, controller = evidence.feed, evidence.controller
    start = f"start it: hostd --control {evidence.socket or 'SOCKET'} --feed {evidence.feed_at}"
    unwell = _unwell(evidence, start)
    if unwell is not None:
        return unwell
    if feed.error:
        return unknown(HOSTD, "the feed knows, which does not answer")
    if feed.owner is not None and not feed.owner.alive:
        return broken(HOSTD, f"hostd of {feed.owner.host}, which holds the VIF, does not run", start)
    contended = _contended(evidence, feed)
    if contended is not None:
        return contended
    if feed.session is None or feed.owner is None:
        if controller is not None and not controller.error and not controller.attached:
            return unknown(HOSTD, "has nothing to do with a VIF that is not attached")
        if controller is None or controller.error:
            return unknown(HOSTD, "no hostd holds the VIF; the controller would know whether one should")
        return broken(HOSTD, "the VIF is attached, and no hostd holds it", start)
    return _by_session(evidence, feed.session)


def _unwell(evidence: Evidence, start: str) -> Hop | None:
    """What hostd says of itself, when that is not good."""
    hostd = evidence.hostd
    if hostd is None:
        return None
    if hostd.error.startswith("nobody"):
        return broken(HOSTD, f"does not run: {hostd.error}", start)
    if hostd.error:
        return broken(HOSTD, f"runs and hangs: {hostd.error}", "end it and start it again: pkill -KILL hostd")
    for part, why in hostd.unwell.items():
        if part == FEED and evidence.feed.error:
            continue  # as we found ourselves
        if part == CONTROLLER and evidence.controller is not None and evidence.controller.error:
            continue
        return broken(
            HOSTD, f"does not reach its {part}: {why}", f"compare its options: {start.partition(': ')[2]}"
        )
    return None


def _contended(evidence: Evidence, feed: FromFeed) -> Hop | None:
    """When this hypervisor waits for a VIF that another one serves."""
    elsewhere = evidence.host in feed.contenders or (
        feed.owner is not None
        and evidence.host != feed.owner.host  # hostd was told another name than we were
    )
    here = evidence.controller is not None and evidence.controller.attached
    if feed.owner is None or not elsewhere or not here or not feed.contenders:
        return None
    return broken(
        HOSTD,
        f"the VIF is attached here too, but hypervisor {feed.owner.host} serves it (code {Reason.CONTENDED})",
        f"detach it there (hvchannel detach {evidence.vif}, on {feed.owner.host}) or here",
    )


def _by_session(evidence: Evidence, session: Session) -> Hop:
    said = f"{session.state}, begun {ago(session.since_unix_ns)}"
    match session.code:
        case Reason.NO_ROUTE:
            return broken(
                HOSTD,
                f"{said}: {session.reason}",
                "give the hypervisor its address on the channel (ip -4 address; hostd --source)",
            )
        case Reason.FEED_AWAY | Reason.FEED_FAILED:
            return broken(
                HOSTD, f"{said}: {session.reason}", "see that hostd reaches the feed; its log says more"
            )
        case Reason.INTERNAL:
            return broken(HOSTD, f"{said}: {session.reason}", "a defect: restart hostd, and report its log")
    why = f": {session.code} {session.reason}" if session.code else ""
    return ok(HOSTD, f"dials {session.address}; {said}{why}")


def controller_hop(evidence: Evidence) -> Hop:
    controller = evidence.controller
    if controller is None:
        return unknown(CONTROLLER, "none was named (--socket or HVCHANNEL_CONTROL)")
    if controller.error:
        return broken(CONTROLLER, controller.error, "start it: hvchannel-control host --config FILE")
    if not controller.attached:
        return broken(
            CONTROLLER,
            f"VIF {evidence.vif} is not attached",
            f"attach it: hvchannel attach {evidence.vif} --mac MAC --port PORT",
        )
    vif = controller.inspection.vif
    return ok(CONTROLLER, f"attached: port {vif.port}, MAC {vif.mac}, VLAN {vif.vlan}, LIP {vif.lip}")


def host_switch_hop(evidence: Evidence) -> Hop:
    controller = evidence.controller
    if controller is None or controller.error or not controller.attached:
        return unknown(HOST_SWITCH, "the controller has to be asked, and the VIF attached")
    inspection, probe = controller.inspection, controller.probe
    for error in (inspection.error, probe.error):
        if error:
            return broken(
                HOST_SWITCH,
                error,
                "start it, or end what hangs: softswitch or simple_switch_grpc, see its log",
            )
    wrong = wrong_entries(inspection)
    if wrong:
        return broken(
            HOST_SWITCH,
            wrong,
            "the controller restores them at its next audit; if they stay: hvchannel vswitch, and its log",
        )
    stopped = _stopped_at(controller)
    if stopped:
        return broken(
            HOST_SWITCH, stopped, "hvchannel vswitch shows which verdict grows; see the vSwitch's log"
        )
    return ok(
        HOST_SWITCH, f"{len(inspection.entries)} entries as they should be; {probe.sent} probe frames passed"
    )


def wrong_entries(inspection: pb.Inspection) -> str:
    """One line on those that are missing or different; empty when there is none."""
    told = []
    for entry in inspection.entries:
        if entry.state == pb.EntryState.MISSING:
            told.append(f"{entry.table}[{entry.match}] is missing")
        elif entry.state == pb.EntryState.DIFFERENT:
            told.append(f"{entry.table}[{entry.match}] is {entry.found}, not {entry.action}")
    more = f" and {len(told) - _SHOWN_ENTRIES} more" if len(told) > _SHOWN_ENTRIES else ""
    return "; ".join(told[:_SHOWN_ENTRIES]) + more


def _stopped_at(controller: FromController) -> str:
    """The first table that let nothing of the probe pass."""
    for step in controller.probe.to:
        if not step.count.packets:
            return (
                f"of {controller.probe.sent} probe frames none hit table {step.table}, whose entry is there"
            )
    return ""


def vnic_hop(evidence: Evidence) -> Hop:
    controller = evidence.controller
    if controller is None or controller.error or not controller.attached:
        return unknown(VNIC, "the controller has to be asked, and the VIF attached")
    vif = controller.inspection.vif
    interface = vif.link.interface
    match vif.link.state:
        case pb.Link.UP:
            return ok(VNIC, f"{interface} at port {vif.port} is up and has a carrier")
        case pb.Link.DOWN:
            return broken(VNIC, f"{interface} at port {vif.port} is down", f"ip link set {interface} up")
        case pb.Link.NO_CARRIER:
            return broken(
                VNIC,
                f"{interface} at port {vif.port} has no carrier",
                "is the VM running, and its end of the VNIC up (in the VM: ip link set eth0 up)?",
            )
        case pb.Link.ABSENT:
            return broken(
                VNIC,
                f"there is no interface {interface}, which should be at port {vif.port}",
                "plug the VNIC in, and see it by: ip link",
            )
        case pb.Link.NO_PORT:
            return broken(
                VNIC,
                f"the vSwitch has no interface at port {vif.port}",
                f"attach the VIF where its VNIC is: hvchannel detach {evidence.vif}; "
                f"hvchannel attach {evidence.vif} --mac {vif.mac} --port PORT",
            )
    return unknown(VNIC, f"the controller knows no interface for port {vif.port} (switch.interfaces)")


def is_up(session: Session | None) -> bool:
    """There is a session now."""
    return session is not None and session.state in (SessionState.SYNCING, SessionState.READY)
