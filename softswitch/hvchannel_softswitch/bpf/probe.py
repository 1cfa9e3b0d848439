# SPDX-License-Identifier: Apache-2.0
"""Whether this process can load XDP programs at all."""

from __future__ import annotations

import errno
import struct

from hvchannel_softswitch.bpf.programs import VerifierError, XdpAction, load_program

_PASS = struct.pack("<BBhi", 0xB7, 0, 0, XdpAction.PASS) + struct.pack("<BBhi", 0x95, 0, 0, 0)
"""r0 = XDP_PASS; exit"""

_REASONS = {
    errno.ENOSYS: "the kernel has no bpf(2) (CONFIG_BPF_SYSCALL)",
    errno.EPERM: "loading a program needs CAP_BPF and CAP_NET_ADMIN (root has them, a container may not)",
    errno.EACCES: "loading a program needs CAP_BPF and CAP_NET_ADMIN (root has them, a container may not)",
    errno.EINVAL: "the kernel knows no XDP links (5.9 is the first that does)",
}


def xdp_available() -> str | None:
    """None when XDP programs can be loaded here; else why not, in one line. Loads one of two instructions. That the JIT
    is off is no reason: programs run then too, only slower."""
    try:
        load_program(_PASS, name="probe").close()
    except OSError as error:
        return _REASONS.get(error.errno or 0, str(error))
    except VerifierError as error:
        return str(error)
    return None
