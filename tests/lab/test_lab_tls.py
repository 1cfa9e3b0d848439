# SPDX-License-Identifier: Apache-2.0
"""A lab with TLS on the channel: documents arrive, and nobody on the way can read them."""

import os
from pathlib import Path

import pytest
from hvchannel_lab.background import background_lab
from hvchannel_telemetry.scrape import scrape

pytestmark = [pytest.mark.root, pytest.mark.e2e]

APPLICATION_DATA = bytes.fromhex("170303")
MARK = b"for the guest's eyes only"


def test_a_document_is_readable_at_its_ends_only(tmp_path: Path) -> None:
    with background_lab(f"tls-{os.getpid()}", tmp_path / "lab", vms=1, channel_tls=True) as lab:
        vm = lab.vms[0]
        with lab.capture("host/hostd0") as capture:
            lab.wait_acked(vm.vif, "secret", lab.put(vm.vif, "secret", MARK))
            capture.wait(lambda frame: APPLICATION_DATA in frame.data, what="a record of TLS")
        assert not [frame for frame in capture.frames() if MARK in frame.data]
        assert lab.read_in_guest(vm.name, "secret") == MARK
        text = scrape(tmp_path / "lab" / vm.name / "guestd.metrics.sock")
        assert "\nhvchannel_guestd_channel_certificate_seconds_left " in text
