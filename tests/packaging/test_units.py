# SPDX-License-Identifier: Apache-2.0
"""The systemd units: systemd's own judgement of them, and a document's way through a hypervisor and a VM whose programs
all run as their units say (see sandbox.py)."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hvchannel_lab import network
from hvchannel_lab.topology import Topology, plan

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"
SANDBOX = Path(__file__).with_name("sandbox.py")
PROGRAMS = Path(sys.executable).parent
EXPOSURE = 19  # tenths, by systemd-analyze security: below 2.0 is OK
PATIENCE = 60.0
HYPERVISOR = ["hvchannel-softswitch", "hvchannel-control", "hvchannel-hostd"]
VM = ["hvchannel-guest-softswitch", "hvchannel-guest-control", "hvchannel-guestd"]
CAPABILITIES = {"softswitch": 1 << 12 | 1 << 13 | 1 << 38 | 1 << 39}

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze: apt-get install systemd"
)


def units() -> list[str]:
    return sorted(path.stem for path in UNITS.glob("*.service"))


def test_the_units_are_those_of_both_sides() -> None:
    assert units() == sorted(HYPERVISOR + VM)


@needs_systemd
def test_systemd_finds_no_fault_with_them(tmp_path: Path) -> None:
    for unit in UNITS.glob("*.service"):
        text = unit.read_text().replace("/opt/hvchannel/bin", str(PROGRAMS))
        (tmp_path / unit.name).write_text(text)
    command = ["systemd-analyze", "verify", "--recursive-errors=no", *map(str, tmp_path.iterdir())]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in ended.stderr.splitlines() if "hvchannel" in line]
    assert (ended.returncode, said) == (0, [])
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager"]
    for unit in tmp_path.iterdir():
        ended = subprocess.run([*command, str(unit)], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout.splitlines()[-1]


@dataclass
class Machine:
    """A network namespace, and a mount namespace in which /run, /var/lib, the bpffs and the users are its own."""

    namespace: str
    log: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    holder: "subprocess.Popen[bytes] | None" = None

    def begin(self, control_toml: str) -> None:
        users = re.findall(r"^u (\S+)", (UNITS / "hvchannel.sysusers.conf").read_text(), re.MULTILINE)
        passwd = "".join(f"{name}:x:{60000 + n}:{60000 + n}::/:/bin/false\n" for n, name in enumerate(users))
        group = "".join(f"{name}:x:{60000 + n}:\n" for n, name in enumerate([*users, "hvchannel"]))
        script = f"""
set -e
for folder in /run /var/lib; do mount -t tmpfs -o mode=0755 none $folder; done
mount -t bpf -o mode=0700 bpf /sys/fs/bpf
cat /etc/passwd - > /run/passwd <<'E'
{passwd}E
cat /etc/group - > /run/group <<'E'
{group}E
mount --bind /run/passwd /etc/passwd
mount --bind /run/group /etc/group
mkdir -m 0755 /run/configuration
cat > /run/configuration/control.toml <<'E'
{control_toml}E
echo begun
exec sleep infinity
"""
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script], stdout=subprocess.PIPE
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == b"begun\n"

    def inside(self, *command: str | Path) -> list[str]:
        assert self.holder is not None
        where = ["nsenter", f"--net=/proc/{os.getpid()}/root/run/netns/{self.namespace}"]
        return [*where, f"--mount=/proc/{self.holder.pid}/ns/mnt", *map(str, command)]

    def run(self, *command: str | Path) -> str:
        return subprocess.run(
            self.inside(*command), capture_output=True, text=True, check=True, timeout=PATIENCE
        ).stdout

    def start(self, unit: str, unit_file: Path, *variables: str) -> None:
        with self.log.open("a") as log:
            self.processes[unit] = subprocess.Popen(
                self.inside(sys.executable, SANDBOX, unit_file, PROGRAMS, *variables), stdout=log, stderr=log
            )

    def end(self) -> None:
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.holder is not None:
            self.holder.kill()
            self.holder.communicate()


@pytest.fixture
def topology(tmp_path: Path) -> Iterator[Topology]:
    planned = plan(f"units-{os.getpid()}", tmp_path, 1)
    # not called as a lab's: one that starts elsewhere would sweep them
    hypervisor = planned.hypervisor.model_copy(update={"namespace": f"units-{os.getpid()}-hv"})
    vm = planned.vms[0].model_copy(update={"namespace": f"units-{os.getpid()}-vm"})
    named = planned.model_copy(update={"hypervisors": (hypervisor,), "vms": (vm,)})
    with ExitStack() as cleanup:
        for namespace in (hypervisor.namespace, vm.namespace):
            cleanup.callback(network.remove_namespace, namespace)
        network.add_hypervisor(hypervisor, named.mtu)
        network.add_vm(vm, named)
        network.plug(vm, named)
        yield named


def control_toml(state: str = "", more: str = "") -> str:
    return f"""\
socket = "/run/hvchannel-control/control.sock"
socket_mode = "0660"
{state}
[switch]
address = "unix:/run/hvchannel-switch/p4rt.sock"
{more}
"""


@needs_systemd
@pytest.mark.root
@pytest.mark.timeout(300)
def test_a_document_arrives_where_all_run_as_their_units_say(topology: Topology, tmp_path: Path) -> None:
    vm = topology.vms[0]
    units_here = tmp_path / "units"
    units_here.mkdir()
    for unit in UNITS.glob("*.service"):
        text = unit.read_text().replace("/etc/hvchannel/", "/run/configuration/")
        (units_here / unit.name).write_text(text)
    with ExitStack() as cleanup:
        machines = []
        for side, namespace in (("hypervisor", topology.hypervisor.namespace), ("vm", vm.namespace)):
            machine = Machine(namespace, tmp_path / f"{side}.log")
            cleanup.callback(machine.end)
            machines.append(machine)
        hypervisor, guest = machines
        hypervisor.begin(control_toml('state = "/var/lib/hvchannel-control/control.db"'))
        guest.begin(control_toml())
        ports = {
            HYPERVISOR[0]: f"SOFTSWITCH_OPTIONS=-i 1@hostd0s -i {vm.host_port}@{vm.vnic}",
            VM[0]: "SOFTSWITCH_OPTIONS=-i 1@guestd0s -i 2@eth0",
        }
        try:
            for machine, names in ((hypervisor, HYPERVISOR), (guest, VM)):
                for name in names:
                    machine.start(
                        name, units_here / f"{name}.service", *([ports[name]] if name in ports else [])
                    )
            _deliver(hypervisor, guest, topology)
            for machine in machines:
                _check_processes(machine)
        except BaseException:
            for machine in machines:
                print(machine.log.read_text()[-6000:])
            raise


def _deliver(hypervisor: Machine, guest: Machine, topology: Topology) -> None:
    vm = topology.vms[0]
    attach = (
        "from pathlib import Path; from hvchannel_control.client import ControlClient\n"
        "with ControlClient(Path('/run/hvchannel-control/control.sock')) as client: "
        f"client.attach({vm.vif!r}, {vm.mac!r}, {vm.host_port})"
    )
    # whoever is in group hvchannel may attach
    member = ("setpriv", "--reuid", "65534", "--regid", "hvchannel", "--clear-groups")
    _until(lambda: _succeeds(hypervisor, *member, sys.executable, "-c", attach))
    feed = "/var/lib/hvchannel-hostd/feed.db"
    _until(lambda: _succeeds(hypervisor, "test", "-e", feed))
    put = [PROGRAMS / "hvchannel", "put", vm.vif, "greeting", "--text", "hello", "--feed", feed]
    assert hypervisor.run(*put).strip() == "1"
    wait = [PROGRAMS / "hvchannel", "wait", vm.vif, "greeting", "--feed", feed, "--timeout", "60"]
    hypervisor.run(*wait)
    got = guest.run(PROGRAMS / "guestd", "get", "greeting", "--socket", "/run/hvchannel/guestd.sock")
    assert got == "hello"


def _check_processes(machine: Machine) -> None:
    for unit, process in machine.processes.items():
        assert process.poll() is None, unit
        status = dict(
            re.findall(r"^(\w+):\s*(\S*)", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
        )
        mask = CAPABILITIES["softswitch"] if "softswitch" in unit else 0
        held = {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")}
        assert held == {"CapEff": mask, "CapPrm": mask, "CapBnd": mask}, unit
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), unit
        assert int(status["Uid"]) >= 60000, unit


def _succeeds(machine: Machine, *command: str | Path) -> bool:
    ended = subprocess.run(
        machine.inside(*command), capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    return ended.returncode == 0


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
