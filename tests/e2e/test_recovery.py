# SPDX-License-Identifier: Apache-2.0
"""Each part killed in turn: everything comes back by itself, and what was acknowledged is still there."""

import secrets

import pytest
from hvchannel_lab.targets import Engine

pytestmark = [pytest.mark.root, pytest.mark.e2e]
ENGINES = (Engine.AUTO, Engine.INTERPRETER)

PARTS = ["host/control", "host/hostd", "vm1/guestd", "host/softswitch", "vm1/softswitch", "vm1/control"]


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_part_comes_back_and_no_acknowledged_document_is_lost(lab, part):
    before = {vm.vif: secrets.token_bytes(1000) for vm in lab.vms}
    for vif, content in before.items():
        lab.wait_acked(vif, "before", lab.put(vif, "before", content))
    leases = {name: vif.lip for name, vif in lab.vifs().items()}

    killed = lab.kill(part)
    after = {vm.vif: secrets.token_bytes(1000) for vm in lab.vms}
    revisions = {vif: lab.put(vif, "after", content) for vif, content in after.items()}
    lab.wait_restarted(part, killed)
    for vm in lab.vms:
        lab.wait_acked(vm.vif, "after", revisions[vm.vif], timeout=60)
        assert lab.read_in_guest(vm.name, "before") == before[vm.vif]
        assert lab.read_in_guest(vm.name, "after") == after[vm.vif]
    lab.until(lambda: all_realised(lab) or None, "every VIF in the tables again", timeout=30)
    assert {name: vif.lip for name, vif in lab.vifs().items()} == leases


def all_realised(lab) -> bool:
    """The controller may itself be the part that was killed: not answering is not yet realised."""
    try:
        vifs = lab.vifs().values()
        return all(vif.State.Name(vif.state) == "REALISED" for vif in vifs)
    except Exception:
        return False
