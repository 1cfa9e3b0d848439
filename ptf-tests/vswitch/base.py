# SPDX-License-Identifier: Apache-2.0
"""Base classes of the tests: a session with the switch, the channel's entries, and checks on what comes out.

Every frame that goes in is accounted for: after each check the verdict counters of the program must be exactly
those of all frames sent so far, so no frame is counted twice, under another verdict, or not at all.
"""

from __future__ import annotations

import json
import os
import time
import unittest
from collections import Counter
from pathlib import Path

import ptf
import ptf.testutils as tu
from ptf.base_tests import BaseTest
from ptf.packet import Packet

from vswitch import architecture, p4runtime
from vswitch.channel import GUEST, HOST, Program
from vswitch.entries import Entry, entries_of
from vswitch.frames import Journey

PATIENCE = 5.0  # seconds for a switch to count a frame it got


class ReportingTest(BaseTest):
    """Tells its outcome to whoever asks for it: a line of JSON into the pipe `--test-params results=FD`."""

    def setUp(self) -> None:
        super().setUp()
        self.dataplane = ptf.dataplane_instance
        self.dataplane.flush()
        if ptf.config["log_dir"] is not None:
            self.dataplane.start_pcap(str(Path(ptf.config["log_dir"]) / f"{self}.pcap"))
            self.addCleanup(self.dataplane.stop_pcap)

    def run(self, result: unittest.TestResult | None = None) -> None:
        assert result is not None
        troubles = len(result.failures) + len(result.errors)
        started = time.monotonic()
        super().run(result)
        pipe = tu.test_param_get("results")
        if pipe is not None:
            problems = [text for _, text in (result.failures + result.errors)[troubles:]]
            report = {"test": str(self), "seconds": time.monotonic() - started, "problems": problems}
            os.write(pipe, json.dumps(report).encode() + b"\n")


class VSwitchTest(ReportingTest):
    """One switch that runs `program`, freshly loaded, with the channel's entries in its tables."""

    program: Program

    def setUp(self) -> None:
        super().setUp()
        target = p4runtime.Target(*(tu.test_param_get(name) for name in p4runtime.Target._fields))
        self.enterContext(p4runtime.session(target, set_pipeline=True))
        self.arch = architecture.current()
        self.entries = entries_of(self.program, self.arch.cpu_port)
        for entry in (*self.entries, *self.arch.own_entries(self.program.ports)):
            p4runtime.insert(entry)
        self.verdicts: Counter[str] = Counter()

    def entry(self, table: str, action: str, **match: object) -> Entry:
        """The entry of the channel with this action, and these keys where there are several."""
        found = [
            entry
            for entry in self.entries
            if (entry.table, entry.action) == (table, action) and match.items() <= entry.match.items()
        ]
        assert len(found) == 1, f"{len(found)} entries of {table} with {action} and {match}"
        return found[0]

    def assert_passes(self, journey: Journey, *verdicts: str) -> None:
        """What came out is what was expected, where it was, and nothing else; it was counted as `verdicts`."""
        tu.send_packet(self, journey.in_port, journey.sent)
        self.assert_counted(*(verdicts or ("forwarded",)))
        tu.verify_packet(self, journey.expected, journey.out_port)
        tu.verify_no_other_packets(self)

    def assert_dropped(self, port: int, frame: Packet | bytes, *verdicts: str) -> None:
        """Nothing came out, and it was counted as `verdicts`."""
        tu.send_packet(self, port, frame)
        self.assert_counted(*verdicts)
        tu.verify_no_other_packets(self)

    def assert_counted(self, *verdicts: str) -> None:
        """The verdict counters are what they were, plus one of each of these."""
        expected, deadline = self.verdicts + Counter(verdicts), time.monotonic() + PATIENCE
        while (counted := p4runtime.verdicts()) != expected and time.monotonic() < deadline:
            time.sleep(0.005)
        self.verdicts = counted  # a wrong count fails one check, and not those after it
        self.assertEqual(dict(expected), dict(counted), "frames by verdict")


class HostTest(VSwitchTest):
    """The hypervisor's vSwitch: the hypervisor's daemon on port 1, two VNICs on ports 2 and 3."""

    program = HOST


class GuestTest(VSwitchTest):
    """A virtual machine's vSwitch: the guest's daemon on port 1, the VNIC on port 2."""

    program = GUEST
