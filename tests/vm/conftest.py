# SPDX-License-Identifier: Apache-2.0
"""A lab with one VM that is a machine, for all tests here: booted once.

`make test` runs on machines of which nothing is known: where one lacks something, reaches no Debian archive, or is too
slow, the tests are skipped with the reason. `make test-vm` fails instead.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NoReturn

import pytest
from hvchannel_lab.background import BackgroundError, background_lab
from hvchannel_lab.handle import Handle
from hvchannel_lab.qemu.accel import accelerator, kernel_boots
from hvchannel_lab.qemu.image import Image, cache, image
from hvchannel_lab.qemu.needs import QEMU, lacking
from hvchannel_lab.qemu.packages import ImageError
from hvchannel_lab.targets import VmKind

WANTED = "HVCHANNEL_VM_TESTS" in os.environ
BOOT_WITHIN = 900 if WANTED else 240  # seconds
KERNEL_WITHIN = 60 if WANTED else 20  # seconds; without KVM it takes some four


def without(reason: str) -> NoReturn:
    if WANTED:
        pytest.fail(reason, pytrace=False)
    pytest.skip(f"no virtual machine here: {reason}")


@pytest.fixture(scope="session")
def guest_image() -> Image:
    """Made, or from the cache."""
    if reason := lacking(1, cache()):
        without(reason)
    try:
        return image(print)
    except (ImageError, OSError) as error:
        without(f"guest image: {error}")


@pytest.fixture(scope="session")
def machine_lab(tmp_path_factory: pytest.TempPathFactory, guest_image: Image) -> Iterator[Handle]:
    """The lab, up; its VM is vm1."""
    qemu = str(shutil.which(QEMU))
    accel, _ = accelerator(qemu, guest_image.kernel, guest_image.initramfs)
    took = kernel_boots(qemu, accel, guest_image.kernel, guest_image.initramfs, KERNEL_WITHIN)
    if isinstance(took, str):
        without(f"accelerator {accel}: {took}")
    state = tmp_path_factory.mktemp("vm") / "lab"
    began = time.monotonic()
    with ExitStack() as up:
        try:
            lab = background_lab(
                f"vm-{os.getpid()}", state, vms=1, vm_kind=VmKind.QEMU, up_within=BOOT_WITHIN
            )
            handle = up.enter_context(lab)
        except BackgroundError:
            waited = time.monotonic() - began
            if waited < BOOT_WITHIN:  # it gave up by itself
                raise
            without(f"a guest was not up within {waited:.0f} s; its kernel alone took {took:.1f} s")
        yield handle
