# SPDX-License-Identifier: Apache-2.0
"""A lab that is up, as commands, tests and the journey reach it: by its state directory, from any process.

All methods block; they may be called from any thread, one with a running event loop included.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import grpc
from hvchannel_control.api import control_pb2 as control
from hvchannel_control.api import control_pb2_grpc
from hvchannel_daemons.feed import open_feed
from hvchannel_daemons.feed.interface import Delivery, Feed, Session, SessionState, StoredReport
from hvchannel_daemons.guestd.client import GuestClient
from hvchannel_daemons.status.overview import Overview, look

from hvchannel_lab import lab_feed, network, registry, traces
from hvchannel_lab.capture import Capture
from hvchannel_lab.capture_sources import sources_of
from hvchannel_lab.installation import program_path
from hvchannel_lab.namespaces import command_in, inside
from hvchannel_lab.parts import Vm
from hvchannel_lab.qemu.window import Window
from hvchannel_lab.registry import Process
from hvchannel_lab.supervisor import PROCESSES_FILE
from hvchannel_lab.tables import Entry, SwitchReader
from hvchannel_lab.targets import Target, VmKind
from hvchannel_lab.topology import Topology, TopologyError

T = TypeVar("T")
_POLL = 0.02  # seconds


class LabTimeoutError(TimeoutError):
    """Something did not come about in time; the message says what."""


class Handle:
    """A lab that is up. `who` is a hypervisor's name ("host" where there is one) or a VM's, a process is
    "host/softswitch", a hop "vm1/eth0"."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology

    @staticmethod
    def of(name: str) -> Handle:
        """The running lab of that name. Raises NoSuchLabError."""
        return Handle(Topology.load(registry.find(name).state))

    @property
    def vms(self) -> tuple[Vm, ...]:
        """The VMs' names, VIFs, MACs, ports and namespaces."""
        return self.topology.vms

    @property
    def guestd(self) -> str:
        """The path of the program, whose commands are the local programs' clients: `guestd get`, `guestd report`."""
        return program_path("guestd")

    # Documents and reports

    def put(self, vif: str, key: str, content: bytes, content_type: str = "application/octet-stream") -> int:
        """Hands the feed a document, as the network control plane does; returns its revision."""
        return self._with_feed(lambda feed: feed.put(vif, key, content, content_type))

    def wait_acked(self, vif: str, key: str, revision: int, timeout: float = 30.0) -> Delivery:
        """Returns when the guest holds the revision durably (or has rejected it). Raises LabTimeoutError."""

        async def settled(feed: Feed) -> Delivery:
            try:
                async with asyncio.timeout(timeout):
                    return await feed.settled(vif, key, revision)
            except TimeoutError:
                said = (await feed.sessions()).get(vif)
                state = f"{said.state}: {said.reason}" if said else "no session"
                raise LabTimeoutError(
                    f"{vif} has not acknowledged {key!r} revision {revision} within {timeout:g} s ({state})"
                ) from None

        return self._with_feed(settled)

    def wait_report(
        self, vif: str, about_key: str, about_revision: int, timeout: float = 30.0
    ) -> StoredReport:
        """The first report about that revision. Raises LabTimeoutError."""

        async def arrived(feed: Feed) -> StoredReport:
            deadline, after = time.monotonic() + timeout, 0
            while time.monotonic() < deadline:
                for stored in await feed.reports(vif, after=after):
                    after = stored.number
                    if (stored.report.about_key, stored.report.about_revision) == (about_key, about_revision):
                        return stored
                await asyncio.sleep(_POLL)
            raise LabTimeoutError(
                f"no report of {vif} about {about_key!r} revision {about_revision} within {timeout:g} s"
            )

        return self._with_feed(arrived)

    def reports_about(self, vif: str, key: str, revision: int) -> list[StoredReport]:
        """All of them that the feed has."""

        async def matching(feed: Feed) -> list[StoredReport]:
            return [
                stored
                for stored in await feed.reports(vif, limit=10_000)
                if (stored.report.about_key, stored.report.about_revision) == (key, revision)
            ]

        return self._with_feed(matching)

    def delivery(self, vif: str, key: str) -> Delivery | None:
        """How far a key has come."""
        return self._with_feed(lambda feed: feed.delivery(vif, key))

    def status(self) -> Overview:
        """How every VIF is, as `hvchannel status` has it."""
        topology = self.topology
        controllers = [topology.control_socket(host) for host in topology.hosts]
        return lab_feed.there(
            topology, lambda: look(lambda: open_feed(topology.feed_at), controllers)
        ).result()

    def sessions(self) -> dict[str, Session]:
        """hostd's sessions by VIF, as it last wrote them to the feed."""
        return self._with_feed(lambda feed: feed.sessions())

    def wait_ready(self, vif: str, host: str, timeout: float = 30.0) -> Session:
        """Returns when that hypervisor's hostd has a ready session with the VIF. Raises LabTimeoutError, FeedError."""

        async def reached(feed: Feed) -> Session:
            deadline = time.monotonic() + timeout
            while True:
                session = (await feed.sessions()).get(vif)
                if session and session.state is SessionState.READY and session.host == host:
                    return session
                if time.monotonic() > deadline:
                    state = (
                        f"{session.state} at {session.host}: {session.reason}" if session else "no session"
                    )
                    raise LabTimeoutError(f"{host} has not reached {vif} within {timeout:g} s ({state})")
                await asyncio.sleep(_POLL)

        return self._with_feed(reached)

    def read_in_guest(self, vm: str, key: str) -> bytes:
        """A document's content as guestd hands it to local programs. Raises GuestClientError."""
        with GuestClient(self.topology.guestd_socket(vm)) as client:
            return client.get(key)[1]

    def _with_feed(self, use: Callable[[Feed], Coroutine[Any, Any, T]]) -> T:
        return lab_feed.ask(self.topology, use).result()

    # Controllers and vSwitches

    def host_of(self, vm: str) -> str:
        """The hypervisor in which the VM's VNIC is plugged now. Raises TopologyError, OSError."""
        name = self.topology.vm(vm).name
        host = network.plugged_at(self.topology).get(name)
        if host is None:
            raise TopologyError(
                f"{name} is on no hypervisor now: on its way to one, or its VNIC is pulled "
                f"(hypervisors: {', '.join(self.topology.hosts)})"
            )
        return host

    def vifs(self, *hosts: str) -> dict[str, control.Vif]:
        """The attachments at these hypervisors' controllers, at all by default, by VIF. Raises grpc.RpcError."""
        found: dict[str, control.Vif] = {}
        for host in hosts or self.topology.hosts:
            with grpc.insecure_channel(f"unix:{self.topology.control_socket(host)}") as channel:
                stub: Any = control_pb2_grpc.ControlStub(channel)
                found |= {vif.vif_id: vif for vif in stub.List(control.ListRequest(), timeout=10).vifs}
        return found

    def control_status(self, who: str) -> control.Status:
        """A controller's view of its vSwitch. Raises grpc.RpcError."""
        with grpc.insecure_channel(f"unix:{self.topology.control_socket(who)}") as channel:
            stub: Any = control_pb2_grpc.ControlStub(channel)
            status: control.Status = stub.GetStatus(control.GetStatusRequest(), timeout=10)
            return status

    def switch_tables(self, who: str, *names: str) -> dict[str, list[Entry]]:
        """Entries by table, of these tables or all, from the running vSwitch. Raises SwitchReadError."""
        with SwitchReader(self.topology.p4runtime_socket(who)) as reader:
            return reader.tables(*names)

    def verdicts(self, who: str) -> dict[str, int]:
        """Packets by verdict since the vSwitch started. Raises SwitchReadError."""
        with SwitchReader(self.topology.p4runtime_socket(who)) as reader:
            return reader.verdicts()

    def wait_verdict(self, who: str, verdict: str, above: int, timeout: float = 10.0) -> int:
        """Waits for a verdict given more than `above` times; returns how often. Raises LabTimeoutError."""
        return self.until(
            lambda: count if (count := self.verdicts(who)[verdict]) > above else None,
            f"verdict {verdict} of {who} above {above}",
            timeout,
        )

    # Packets

    def capture(self, *hops: str, limit: int = 20_000) -> Capture:
        """A context manager that captures at these hops (by default all that are there), by what shows their frames
        now."""
        chosen = [self.topology.hop(name) for name in hops] if hops else network.present(self.topology)
        return Capture(sources_of(self.topology, chosen), limit)

    def send(self, hop: str, *frames: bytes) -> None:
        """Puts whole frames on the wire at a hop, as anybody with root there could: at "vm1/eth0", past the guest's
        vSwitch. Raises OSError.
        """
        chosen = self.topology.hop(hop)
        if (window := self._window(hop.partition("/")[0])) is not None:
            window.send(hop, frames)
            return
        with inside(chosen.namespace):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        with sock:
            sock.bind((chosen.interface, 0))
            for frame in frames:
                sock.send(frame)

    def trace(self, who: str, frame: bytes | None = None) -> list[traces.Record]:
        """What the vSwitch wrote of its packets, oldest first; of those alone that came in as `frame`.

        Raises TopologyError for a target that writes no trace.
        """
        if not self.topology.target.traces:
            raise TopologyError(
                f"target {self.topology.target} writes no trace of its packets (valid: {Target.SOFTSWITCH})"
            )
        return list(traces.read(self.topology.trace_file(who), frame))

    # Processes and namespaces

    def processes(self) -> dict[str, dict[str, Any]]:
        """Every supervised process with pid, state, restarts, last exit and log."""
        content: dict[str, dict[str, Any]] = json.loads((self.topology.state / PROCESSES_FILE).read_bytes())
        return content

    def process(self, name: str) -> Process:
        """Raises TopologyError for an unknown name, ProcessLookupError while it waits to be started again."""
        known = self.processes()
        if name not in known:
            raise TopologyError(
                f"no process {name!r} in lab {self.topology.name!r} (valid: {', '.join(known)})"
            )
        recorded = known[name]
        if recorded["pid"] is None:
            raise ProcessLookupError(f"{name} does not run now ({recorded['state']})")
        return Process(recorded["pid"], recorded["start_time"])

    def pid(self, name: str) -> int:
        """Of a process that runs; see `process`."""
        return self.process(name).pid

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> Process:
        """Sends a signal; returns the process that got it, for `wait_restarted`."""
        process = self.process(name)
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
        return process

    def wait_restarted(self, name: str, killed: Process, timeout: float = 30.0) -> Process:
        """Waits until another process bears the name. Raises LabTimeoutError."""

        def another() -> Process | None:
            with suppress(ProcessLookupError):
                process = self.process(name)
                if process != killed and process.alive:
                    return process
            return None

        return self.until(another, f"{name} runs again", timeout)

    def run_in(
        self,
        where: str,
        argv: Sequence[str | Path],
        *,
        stdin: bytes = b"",
        timeout: float = 30.0,
        check: bool = False,
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a program on a hypervisor, in a VM or where the control plane is, to its end. Raises TopologyError, else
        as subprocess.run does."""
        if (window := self._window(where)) is not None:
            return window.run([str(word) for word in argv], stdin, timeout)
        command = command_in(self.topology.namespace(where), [str(word) for word in argv])
        return subprocess.run(command, input=stdin, capture_output=True, timeout=timeout, check=check)

    def machine(self, vm: str) -> dict[str, Any] | None:
        """What a VM that is a machine says of itself, as `Window.look` has it; None of another kind. Raises OSError."""
        window = self._window(self.topology.vm(vm).name)
        return window.look() if window else None

    def _window(self, where: str) -> Window | None:
        is_machine = self.topology.vm_kind is VmKind.QEMU and where not in self.topology.hosts
        return Window(self.topology.folder(where)) if is_machine else None

    @staticmethod
    def until(condition: Callable[[], T | None], what: str, timeout: float = 30.0) -> T:
        """Polls until the condition gives something other than None, and returns that. Raises LabTimeoutError."""
        deadline = time.monotonic() + timeout
        while (found := condition()) is None:
            if time.monotonic() > deadline:
                raise LabTimeoutError(f"not within {timeout:g} s: {what}")
            time.sleep(_POLL)
        return found
