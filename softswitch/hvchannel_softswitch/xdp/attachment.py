# SPDX-License-Identifier: Apache-2.0
"""Putting a program on an interface: in which mode, and what the kernel means by its refusal."""

from __future__ import annotations

import errno

from hvchannel_softswitch.bpf import Link, Program, XdpMode

_NO_NATIVE_XDP = {errno.EOPNOTSUPP, 524}  # 524: ENOTSUPP, the kernel's own, which some drivers let out
_TAKEN = {errno.EBUSY, errno.EEXIST}
_NOT_FOR_THIS_INTERFACE = {errno.ERANGE, errno.EINVAL, errno.ENOSPC, errno.E2BIG}
_GONE = {errno.ENODEV, errno.ENOLINK}

_MEANINGS = {
    errno.ERANGE: "its MTU (or its peer's) is too long for native XDP",
    errno.ENOSPC: "its peer has more transmit queues than it has receive queues",
    errno.EINVAL: "the driver refuses native XDP for its present settings (MTU, rings, channels)",
    errno.E2BIG: "the driver refuses native XDP for its present settings (MTU, rings, channels)",
}


class NoNativeXdpError(Exception):
    """The interface's driver has no native XDP; so it cannot be redirected to from native XDP either."""


class AttachError(Exception):
    """The program cannot be put on the interface; the message says why. `gone`: the interface is not there."""

    def __init__(self, message: str, *, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone


def attach(program: Program, interface: str, ifindex: int, mode: XdpMode) -> tuple[Link, XdpMode, str]:
    """The link, the mode it is in (generic where native was asked for, and the driver has it but refuses it for this
    interface), and why it is not the one asked for ("" if it is). Raises NoNativeXdpError, AttachError."""
    try:
        return Link.create_xdp(program, ifindex, mode), mode, ""
    except OSError as error:
        code = error.errno or 0
        if mode is XdpMode.GENERIC or code not in _NO_NATIVE_XDP | _NOT_FOR_THIS_INTERFACE:
            raise _refusal(error, interface) from error
        if code in _NO_NATIVE_XDP:
            raise NoNativeXdpError(f"the driver of {interface!r} has no native XDP") from error
        reason = _MEANINGS[code]
    try:
        return Link.create_xdp(program, ifindex, XdpMode.GENERIC), XdpMode.GENERIC, reason
    except OSError as error:
        raise _refusal(error, interface) from error


def replace(link: Link, program: Program, interface: str) -> None:
    """Puts another program in the place of the attached one. Raises AttachError."""
    try:
        link.update(program)
    except OSError as error:
        raise _refusal(error, interface) from error


def _refusal(error: OSError, interface: str) -> AttachError:
    code = error.errno or 0
    if code in _GONE:
        return AttachError(f"interface {interface!r} does not exist", gone=True)
    if code in _TAKEN:
        return AttachError(
            f"interface {interface!r} has another XDP program: `ip link set dev {interface} xdp off` removes it, or "
            f"ending the process that holds its link"
        )
    return AttachError(f"interface {interface!r}: {_MEANINGS.get(code, error.strerror)}")
