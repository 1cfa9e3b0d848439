# SPDX-License-Identifier: Apache-2.0
"""Reports: every one is counted, and no sender can flood the log."""

import structlog
from hvchannel_control.reports import Reports

SPOOF = {"port": 2, "vni": 5001, "src_mac": 0x020000000001, "src_ip": 0xA9FE0102}


def test_a_digest_is_a_log_event_with_readable_fields_and_a_count() -> None:
    reports = Reports(lambda port, vni: {(2, 5001): "vm1"}.get((port, vni)))
    with structlog.testing.capture_logs() as events:
        reports.digest("spoof_digest", SPOOF)
    (event,) = events
    assert event["log_level"] == "warning"
    assert event["digest"] == "spoof_digest"
    assert event["vif"] == "vm1"
    assert (event["src_mac"], event["src_ip"], event["vni"]) == ("02:00:00:00:00:01", "169.254.1.2", 5001)
    assert reports.digests["spoof_digest"] == 1


def test_one_source_is_logged_now_and_then_whatever_it_forges() -> None:
    now = 0.0
    reports = Reports(lambda _port, _vni: None, clock=lambda: now)
    with structlog.testing.capture_logs() as events:
        for n in range(1000):
            reports.digest("spoof_digest", {**SPOOF, "src_mac": n, "src_ip": n})
        reports.digest("spoof_digest", {**SPOOF, "port": 3})
        now = 5.0
        reports.digest("spoof_digest", SPOOF)
    assert [(event["port"], event["left_out"]) for event in events] == [(2, 0), (3, 0), (2, 999)]
    assert reports.digests["spoof_digest"] == 1002


def test_one_vif_of_a_trunk_hides_no_other() -> None:
    reports = Reports(lambda port, vni: f"{port}/{vni}", clock=lambda: 0.0)
    with structlog.testing.capture_logs() as events:
        for n in range(100):
            reports.digest("spoof_digest", {**SPOOF, "vni": 5001 + n % 2})
    assert [event["vif"] for event in events] == ["2/5001", "2/5002"]


def test_a_packet_for_the_controller_is_logged_with_its_reason() -> None:
    reports = Reports(lambda _port, _vni: "vm1")
    with structlog.testing.capture_logs() as events:
        reports.packet_in({"ingress_port": 2, "reason": 7}, b"\xff" * 1000)
    (event,) = events
    assert (event["port"], event["vif"], event["reason"], event["bytes"]) == (2, "vm1", 7, 1000)
    assert event["head"] == "ff" * 64
