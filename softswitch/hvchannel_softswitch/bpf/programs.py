# SPDX-License-Identifier: Apache-2.0
"""XDP programs: loaded, refused with the verifier's reasons, and run on one frame for a test."""

from __future__ import annotations

import ctypes
import errno
import re
import struct
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import NamedTuple, Self

from hvchannel_softswitch.bpf import pins
from hvchannel_softswitch.bpf.syscall import (
    NAME_BYTES,
    Command,
    Descriptor,
    address,
    attributes,
    bpf,
    object_info,
    object_name,
)

_PROG_TYPE_XDP = 6
_INSTRUCTION_BYTES = 8
_LOG_BYTES = 16 << 20
_ATTEMPTS = 5
"""The verifier gives up with EAGAIN when a signal is pending."""

_LOAD = struct.Struct("=IIQQIIQII16sII")
_TEST = struct.Struct("=IIIIQQIIIIQQIII4x")
_XDP_MD = struct.Struct("=IIIIII")
_RESULTS = struct.Struct("=4xI4xI")
_DURATION = struct.Struct("=I")
_MAX_METADATA = 216
"""The headroom's 256 bytes less the kernel's xdp_frame."""

_FRAME_BYTES = (64 << 10) + 512
"""No skb is longer than 64 KiB; the rest is room for metadata and for what a program puts in front."""


class AttachType(IntEnum):
    """Where a program is to run: on an interface, or on what a devmap entry sends."""

    XDP_DEVMAP = 33
    XDP = 37


class ProgramFlag(IntFlag):
    """BPF_F_*, of a program's load."""

    NONE = 0
    XDP_HAS_FRAGS = 1 << 5


class XdpAction(IntEnum):
    """What an XDP program returns."""

    ABORTED = 0
    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4


class VerifierError(Exception):
    """The kernel refuses a program. `log` is the verifier's, `instruction` the index of the last one it looked at
    (None when it looked at none), `errno` the load's."""

    def __init__(self, name: str, code: int, log: str) -> None:
        self.name, self.errno, self.log = name, code, log
        self.instruction = last_instruction(log)
        where = "" if self.instruction is None else f" at instruction {self.instruction}"
        # Of what it finds wrong after the instructions, the verifier says nothing.
        reason = (
            _reason(log)
            or f"{errno.errorcode.get(code, code)} without a reason (do all programs of its devmap agree in `frags`?)"
        )
        super().__init__(f"the kernel refuses program {name!r}{where}: {reason}")


class TestRun(NamedTuple):
    """What became of one frame. `result`: what the program returned (see XdpAction); `frame`: from xdp_md's `data` to
    the end; `nanoseconds`: of one run, the mean over `repeat`."""

    result: int
    frame: bytes
    nanoseconds: int


class ProgramInfo(NamedTuple):
    """What the kernel says of a program. `translated_bytes`, `native_bytes`: its size as eBPF and as machine code (0:
    not compiled by the JIT)."""

    id: int
    tag: str
    name: str
    native_bytes: int
    translated_bytes: int


class Program(Descriptor):
    """A loaded XDP program. `test_run` is for one thread at a time."""

    def __init__(self, descriptor: int) -> None:
        """Takes over `descriptor`."""
        super().__init__(descriptor)
        self._bench: _Bench | None = None

    @classmethod
    def from_pin(cls, path: Path) -> Self:
        """The program pinned at `path`. Raises OSError (FileNotFoundError when nothing is)."""
        return cls(pins.get(path, pins.PinKind.PROGRAM))

    @property
    def info(self) -> ProgramInfo:
        """Asked anew each time. Raises OSError."""
        raw = object_info(self.fd)
        _, number, tag, native, translated = struct.unpack_from("=II8sII", raw)
        name = raw[64 : 64 + NAME_BYTES].split(b"\0")[0].decode()
        return ProgramInfo(number, tag.hex(), name, native, translated)

    def test_run(
        self, frame: bytes, *, metadata: bytes = b"", ingress_ifindex: int = 0, repeat: int = 1
    ) -> TestRun:
        """Runs the program on a frame that comes from nowhere and, whatever the program returns, goes nowhere.

        `metadata` lies between xdp_md's `data_meta` and `data`. `ingress_ifindex` is that of one of this namespace's
        interfaces (0: the loopback, whose number xdp_md then shows). Of a `frame` longer than some 3,500 bytes the rest
        is in fragments, for which the program must have been loaded with `frags`.
        Raises OSError, ValueError.
        """
        if self._bench is None:
            self._bench = _Bench()
        return self._bench.run(self.fd, frame, metadata, ingress_ifindex, repeat)


class _Bench:
    """The memory of test runs, kept from one to the next: a call costs a few microseconds."""

    def __init__(self) -> None:
        self._in = ctypes.create_string_buffer(_FRAME_BYTES)
        self._out = ctypes.create_string_buffer(_FRAME_BYTES)
        self._context = ctypes.create_string_buffer(_XDP_MD.size)
        self._attributes = ctypes.create_string_buffer(_TEST.size)
        self._in_view = memoryview(self._in).cast("B")
        self._out_view = memoryview(self._out).cast("B")
        self._addresses = address(self._in), address(self._out), address(self._context)

    def run(self, fd: int, frame: bytes, metadata: bytes, ifindex: int, repeat: int) -> TestRun:
        ahead = len(metadata)
        size = ahead + len(frame)
        if size > _FRAME_BYTES or len(frame) < 14:
            raise ValueError(f"a frame of {len(frame)} bytes: 14 to {_FRAME_BYTES - ahead} can be run")
        if ahead % 4 or ahead > _MAX_METADATA:
            raise ValueError(f"metadata of {ahead} bytes: a multiple of 4, at most {_MAX_METADATA}, is right")
        self._in_view[:ahead] = metadata
        self._in_view[ahead:size] = frame
        data_in, data_out, context = self._addresses
        _XDP_MD.pack_into(self._context, 0, ahead, size, 0, ifindex, 0, 0)
        _TEST.pack_into(
            self._attributes, 0, fd, 0, size, _FRAME_BYTES, data_in, data_out, repeat, 0,
            _XDP_MD.size, _XDP_MD.size, context, context, 0, 0, 0,
        )  # fmt: skip
        bpf(Command.PROG_TEST_RUN, self._attributes)
        result, length = _RESULTS.unpack_from(self._attributes)
        (nanoseconds,) = _DURATION.unpack_from(self._attributes, 36)
        (start,) = _DURATION.unpack_from(self._context)
        return TestRun(result, bytes(self._out_view[start:length]), nanoseconds)


def load_program(
    instructions: bytes,
    *,
    name: str,
    expected_attach_type: AttachType = AttachType.XDP,
    frags: bool = False,
    license: str = "Apache-2.0",  # noqa: A002 (what the kernel calls it)
) -> Program:
    """Loads an XDP program. `frags`: it knows that a frame may lie in fragments, so it may be attached where frames are
    longer than a page. `license`: helpers that are GPL only ask for one the kernel deems compatible, such as "GPL".

    Raises VerifierError, OSError when the kernel does not get as far as to verify it, ValueError.
    """
    if not instructions or len(instructions) % _INSTRUCTION_BYTES:
        raise ValueError(f"program {name!r}: {len(instructions)} bytes are no whole number of instructions")
    try:
        return Program(_load(instructions, name, expected_attach_type, frags, license, None))
    except OSError as error:
        refusal = error
    log = ctypes.create_string_buffer(_LOG_BYTES)
    try:
        return Program(_load(instructions, name, expected_attach_type, frags, license, log))
    except OSError:
        text = log.value.decode(errors="replace")
        if not text:
            raise refusal from None
        raise VerifierError(name, refusal.errno or 0, text) from None


def _load(
    instructions: bytes,
    name: str,
    attach_type: AttachType,
    frags: bool,
    license_name: str,
    log: ctypes.Array[ctypes.c_char] | None,
) -> int:
    licence = license_name.encode() + b"\0"
    level, size, where = (1, len(log), address(log)) if log is not None else (0, 0, 0)
    flags = ProgramFlag.XDP_HAS_FRAGS if frags else ProgramFlag.NONE
    packed = _LOAD.pack(
        _PROG_TYPE_XDP, len(instructions) // _INSTRUCTION_BYTES, address(instructions), address(licence),
        level, size, where, 0, flags, object_name(name), 0, attach_type,
    )  # fmt: skip
    for attempt in range(_ATTEMPTS):
        try:
            return bpf(Command.PROG_LOAD, attributes(packed))
        except BlockingIOError:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def last_instruction(log: str) -> int | None:
    """The index of the last instruction that a verifier's log shows; None when it shows none."""
    found = re.findall(r"^(\d+): \([0-9a-f]{2}\)", log, re.MULTILINE)
    return int(found[-1]) if found else None


def _reason(log: str) -> str:
    """The verifier's own words: its last line that is neither an instruction nor a statistic."""
    for line in reversed(log.strip().splitlines()):
        if line and not re.match(
            r"^(\d+: |from \d+ to |processed \d+ insns|verification time|stack depth|; )", line
        ):
            return line
    return ""
