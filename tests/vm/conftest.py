# SPDX-License-Identifier: Apache-2.0
"""A lab with one VM that is a machine, for all tests here: booted once. Where there is no QEMU they are skipped."""

import os
import shutil
from collections.abc import Iterator

import pytest
from hvchannel_lab.background import background_lab
from hvchannel_lab.handle import Handle
from hvchannel_lab.targets import VmKind

BOOT_WITHIN = 900  # seconds, an image made for the first time included


@pytest.fixture(scope="session")
def machine_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    """The lab, up; its VM is vm1."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("qemu-system-x86_64 is not on PATH (apt-get install qemu-system-x86)")
    state = tmp_path_factory.mktemp("vm") / "lab"
    name = f"vm-{os.getpid()}"
    with background_lab(name, state, vms=1, vm_kind=VmKind.QEMU, up_within=BOOT_WITHIN) as handle:
        yield handle
