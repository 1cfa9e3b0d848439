# SPDX-License-Identifier: Apache-2.0
"""What a running lab's programs may do, and what of them others on the machine can reach: docs/security.md's list, held
against the kernel's own."""

import os
import re
import socket
import stat
from pathlib import Path

import pytest
from hvchannel_lab.handle import Handle
from hvchannel_privilege.capabilities import Capability

pytestmark = [pytest.mark.root, pytest.mark.e2e]

KEPT = {
    "softswitch": {
        Capability.NET_ADMIN,
        Capability.NET_RAW,
        Capability.BPF,
        Capability.PERFMON,
        Capability.SYS_ADMIN,
        Capability.SYS_PTRACE,
        Capability.SYS_CHROOT,
    },
    "control": set(),
    "hostd": {Capability.NET_ADMIN},
    "guestd": set(),
}
SOCKETS = {
    "softswitch": {"p4rt.sock", "softswitch.metrics.sock"},
    "control": {"control.sock", "control.metrics.sock"},
    "hostd": {"hostd.sock", "hostd.metrics.sock"},
    "guestd": {"guestd.sock", "guestd.metrics.sock"},
}
LISTENS = {"guestd": {("169.254.1.2", 2345)}}
"""By TCP; nobody else does."""
_TCP_LISTEN, _ACCEPTS = "0A", 0x10000  # net/tcp_states.h, linux/net.h (__SO_ACCEPTCON)


def programs(lab: Handle) -> list[tuple[str, str]]:
    """(process, program), without what stands for others' programs."""
    named = [(name, name.rpartition("/")[2]) for name in lab.processes()]
    return [(process, program) for process, program in named if program in KEPT]


def test_each_program_may_do_what_it_needs_and_no_more(lab: Handle) -> None:
    assert {program for _, program in programs(lab)} == set(KEPT)
    for process, program in programs(lab):
        mask = sum(1 << capability for capability in KEPT[program])
        for status in _statuses(lab.pid(process)):
            held = {
                name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")
            }
            allowed = {"CapPrm": mask, "CapEff": mask, "CapBnd": mask, "CapInh": 0, "CapAmb": 0}
            assert held == allowed, (process, status["Name"])
            assert status["NoNewPrivs"] == "1", process


def test_each_program_listens_where_the_list_says_and_nowhere_else(lab: Handle) -> None:
    for process, program in programs(lab):
        pid, folder = lab.pid(process), lab.topology.folder(process.partition("/")[0])
        own = _socket_inodes(pid)
        listening = _tcp(pid, own)
        assert listening == LISTENS.get(program, set()), process
        assert _numbers(pid, "raw", own) == _numbers(pid, "raw6", own) == set(), process
        if program != "softswitch":
            assert _numbers(pid, "packet", own) == set(), process
        assert _unix(pid, own) == {str(folder / name) for name in SOCKETS[program]}, process
        for name in SOCKETS[program]:
            about = (folder / name).lstat()
            assert stat.S_ISSOCK(about.st_mode)
            assert (stat.S_IMODE(about.st_mode), about.st_uid) == (0o600, os.geteuid()), name


def test_nobody_else_can_enter_a_folder_or_read_what_is_kept(lab: Handle) -> None:
    state = lab.topology.state
    for folder in (state, *(lab.topology.folder(who) for who in lab.topology.places)):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    kept = [path for path in state.rglob("*") if path.suffix in (".db", ".log") or "-wal" in path.name]
    assert {"feed.db", "control.db", "store.db", "hostd.log"} <= {path.name for path in kept}
    for path in kept:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            continue  # a write-ahead log, of a process that ended meanwhile
        assert mode == 0o600, path
    run = Path("/run/softswitch")
    if run.is_dir():
        for folder in run.glob(f"hvc-{lab.topology.name}-*"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


def test_no_program_has_a_file_open_in_a_folder_that_all_write_to(lab: Handle) -> None:
    """Such as /tmp, where another user may put a link in the way."""
    for process, _ in programs(lab):
        for link in Path(f"/proc/{lab.pid(process)}/fd").iterdir():
            try:
                target = link.readlink()
                folder = target.parent.stat()
            except OSError:
                continue  # closed meanwhile, or no file
            if target.is_absolute() and not str(target).startswith("/dev/"):
                assert not folder.st_mode & stat.S_IWOTH, (process, target)


def _statuses(pid: int) -> list[dict[str, str]]:
    """Of each thread."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            text = (task / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        found.append(dict(re.findall(r"^(\w+):\s*(\S*)", text, re.MULTILINE)))
    assert found
    return found


def _socket_inodes(pid: int) -> set[int]:
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        if match := re.fullmatch(r"socket:\[(\d+)\]", target):
            inodes.add(int(match[1]))
    return inodes


def _lines(pid: int, table: str) -> list[list[str]]:
    path = Path(f"/proc/{pid}/net/{table}")
    return [line.split() for line in path.read_text().splitlines()[1:]] if path.exists() else []


def _tcp(pid: int, own: set[int]) -> set[tuple[str, int]]:
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for words in _lines(pid, table):
            if words[3] == _TCP_LISTEN and int(words[9]) in own:
                address, port = words[1].split(":")
                raw = b"".join(
                    int(address[n : n + 8], 16).to_bytes(4, "little") for n in range(0, len(address), 8)
                )
                found.add((socket.inet_ntop(family, raw), int(port, 16)))
    return found


def _numbers(pid: int, table: str, own: set[int]) -> set[int]:
    column = 8 if table == "packet" else 9
    return {int(words[column]) for words in _lines(pid, table)} & own


def _unix(pid: int, own: set[int]) -> set[str]:
    """Paths, or abstract names, of the sockets on which a process takes connections."""
    return {
        words[7] if len(words) > 7 else ""
        for words in _lines(pid, "unix")
        if int(words[6]) in own and int(words[3], 16) & _ACCEPTS
    }
