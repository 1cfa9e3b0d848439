# SPDX-License-Identifier: Apache-2.0
"""p4runtime-shell, a client of other people's, on the running host vSwitch."""

import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.e2e]

PYTHON = Path(__file__).parents[2] / ".venv-ptf" / "bin" / "python"

# What a person would type.
TYPED = """
tables
te = table_entry["forward"]
te.counter_data
te.read(lambda entry: print("ENTRY", entry.action.action_name, entry.counter_data.packet_count))
exit
"""


def test_p4runtime_shell_lists_tables_and_reads_entries_and_counters(lab):
    vifs = lab.vifs()
    lab.wait_acked("vm1", "shell", lab.put("vm1", "shell", b"something to count"))
    address = f"unix:{lab.topology.p4runtime_socket('host')}"
    result = subprocess.run(
        [PYTHON, "-m", "p4runtime_sh", "--device-id", "1", "--grpc-addr", address, "--election-id", "0,1"],
        input=TYPED,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert {"attachment", "forward", "member", "tag"} <= set(result.stdout.split())
    entries = [
        line.split("ENTRY ")[1].split() for line in result.stdout.splitlines() if "ENTRY to_port" in line
    ]
    assert len(entries) == len(vifs) + 1
    assert max(int(packets) for _, packets in entries) > 0
    # The shell was a backup: the controller is still in charge.
    assert lab.control_status("host").in_sync
