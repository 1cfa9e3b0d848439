# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests stand on: the lab's handle does what it says."""

import signal

import pytest
from hvchannel_lab.evidence import MissingError
from hvchannel_lab.handle import Handle
from hvchannel_lab.journey import JourneyError, observe

pytestmark = [pytest.mark.root, pytest.mark.e2e]


def test_a_document_is_acknowledged_held_and_answered(lab: Handle) -> None:
    for vm in lab.vms:
        revision = lab.put(vm.vif, "fixture/document", b"for " + vm.name.encode())
        assert lab.wait_acked(vm.vif, "fixture/document", revision).acknowledged == revision
        assert lab.read_in_guest(vm.name, "fixture/document") == b"for " + vm.name.encode()
        report = lab.wait_report(vm.vif, "fixture/document", revision).report
        assert report.type == "sample/received"


def test_the_whole_journey_is_shown_for_each_vm(lab: Handle) -> None:
    journeys = observe(lab)
    assert [journey.vm for journey in journeys] == ["vm1", "vm2"]
    for journey in journeys:
        assert [element.number for element in journey.there] == [str(n) for n in range(1, 11)]
        assert [element.number for element in journey.back] == [f"R{n}" for n in range(1, 7)]
        assert all(element.found and element.sources for element in (*journey.there, *journey.back))


def test_an_element_that_cannot_be_shown_is_named(lab: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trace lost, element 3 has nothing to stand on: that is an error, not a gap in a table."""
    monkeypatch.setattr("hvchannel_lab.evidence._WITHIN", 0.2)
    monkeypatch.setattr(Handle, "trace", lambda *_: [])
    with pytest.raises(
        JourneyError, match=r"vm1: element 3 cannot be shown: the packet of \d+ bytes"
    ) as caught:
        observe(lab)
    assert [element.number for element in caught.value.shown] == ["1", "2"]
    assert isinstance(caught.value.__context__, MissingError)


def test_tables_and_verdicts_are_read_from_the_running_switch(lab: Handle) -> None:
    host = lab.switch_tables("host")
    ports = {entry.args["port"] for entry in host["forward"] if entry.action == "to_port"}
    assert ports == {1, 2, 3}
    assert set(lab.switch_tables("vm1", "member")) == {"member"}
    before = lab.verdicts("host")["forwarded"]
    lab.wait_acked("vm1", "fixture/count", lab.put("vm1", "fixture/count", b"x"))
    assert lab.wait_verdict("host", "forwarded", above=before) > before


def test_programs_run_where_they_are_told(lab: Handle) -> None:
    done = lab.run_in("vm1", ["ip", "-brief", "address", "show", "guestd0"], check=True)
    assert b"169.254.1.2" in done.stdout
    done = lab.run_in("host", ["cat"], stdin=b"through", check=True)
    assert done.stdout == b"through"


def test_a_frame_sent_at_a_hop_arrives_at_the_next(lab: Handle) -> None:
    frame = bytes.fromhex("02000000000102000000000288b5") + b"sent at a hop".ljust(46, b"\0")
    with lab.capture("host/vnic1", "vm1/eth0") as capture:
        lab.send("vm1/eth0", frame)
        assert not capture.wait(lambda f: f.hop == "host/vnic1" and f.data == frame).outgoing


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_is_back_and_the_channel_works(lab: Handle, number: signal.Signals) -> None:
    killed = lab.kill("vm1/guestd", number)
    assert lab.wait_restarted("vm1/guestd", killed).pid == lab.pid("vm1/guestd") != killed.pid
    revision = lab.put("vm1", "fixture/after", b"back")
    assert lab.wait_acked("vm1", "fixture/after", revision).acknowledged == revision
