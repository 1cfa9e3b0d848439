# SPDX-License-Identifier: Apache-2.0
"""Calls of the kernel's helper functions (linux/bpf.h, enum bpf_func_id) and of its pseudo instructions."""

from __future__ import annotations

from enum import IntEnum

from llvmlite import ir

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
POINTER = ir.PointerType()

XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = range(5)

_KTIME_GET_NS = 5
_GET_PRANDOM_U32 = 7
_GET_SMP_PROCESSOR_ID = 8
_MAP_LOOKUP = 1
_XDP_ADJUST_HEAD = 44
_REDIRECT_MAP = 51
_XDP_ADJUST_META = 54
_XDP_ADJUST_TAIL = 65
_RINGBUF_RESERVE = 131
_RINGBUF_SUBMIT = 132
_XDP_GET_BUFF_LEN = 188
_XDP_LOAD_BYTES = 189

_BROADCAST = 1 << 3

PSEUDO_MAP_FD = 1
PSEUDO_MAP_VALUE = 2


def i64(value: int) -> ir.Constant:
    """A 64 bit constant."""
    return ir.Constant(I64, value)


def i32(value: int) -> ir.Constant:
    """A 32 bit constant."""
    return ir.Constant(I32, value)


class MapRef(IntEnum):
    """The maps of a program. In compiled code these numbers stand where descriptors will (see `codegen.linked`)."""

    ARENA = 1
    EVENTS = 2
    NEAR = 3
    """From an interface's index to its port; see `ingress`."""
    FAR = 4
    DEVICES = 5
    """From a port to its interface."""
    SETS = 6
    """From a set of replicas to the devmap with their interfaces; see `multicast`."""


class Kernel:
    """Writes calls at the builder's place."""

    def __init__(self, module: ir.Module, builder: ir.IRBuilder) -> None:
        self._b = builder
        self._pseudo = ir.Function(module, ir.FunctionType(I64, [I64, I64]), "llvm.bpf.pseudo")

    def _call(self, helper: int, result: ir.Type, *arguments: ir.Value) -> ir.Value:
        function = ir.FunctionType(result, [argument.type for argument in arguments])
        pointer = self._b.inttoptr(i64(helper), function.as_pointer())
        return self._b.call(pointer, arguments)

    def map(self, which: MapRef) -> ir.Value:
        """A map, as helpers take it."""
        return self._b.inttoptr(self._b.call(self._pseudo, [i64(PSEUDO_MAP_FD), i64(which)]), POINTER)

    def map_value(self, which: MapRef) -> ir.Value:
        """The address of the value of a map that has one element."""
        return self._b.inttoptr(self._b.call(self._pseudo, [i64(PSEUDO_MAP_VALUE), i64(which)]), POINTER)

    def lookup(self, which: MapRef, key: ir.Value) -> ir.Value:
        """The address of an element's value, or null."""
        return self._call(_MAP_LOOKUP, POINTER, self.map(which), key)

    def now(self) -> ir.Value:
        """CLOCK_MONOTONIC in nanoseconds."""
        return self._call(_KTIME_GET_NS, I64)

    def random(self) -> ir.Value:
        """32 random bits."""
        return self._call(_GET_PRANDOM_U32, I32)

    def cpu(self) -> ir.Value:
        """The number of this CPU."""
        return self._call(_GET_SMP_PROCESSOR_ID, I32)

    def adjust_head(self, context: ir.Value, delta: ir.Value) -> ir.Value:
        """Moves the frame's start; all addresses in it are void afterwards. 0: done."""
        return self._call(_XDP_ADJUST_HEAD, I64, context, delta)

    def adjust_tail(self, context: ir.Value, delta: ir.Value) -> ir.Value:
        """Moves the frame's end; all addresses in it are void afterwards. 0: done."""
        return self._call(_XDP_ADJUST_TAIL, I64, context, delta)

    def redirect(self, which: MapRef, port: ir.Value, otherwise: int) -> ir.Value:
        """XDP_REDIRECT to the device at `port` of a devmap, or `otherwise` if there is none."""
        return self._call(_REDIRECT_MAP, I64, self.map(which), port, i64(otherwise))

    def adjust_meta(self, context: ir.Value, delta: ir.Value) -> ir.Value:
        """Moves the start of what precedes the frame; all addresses in it are void afterwards. 0: done."""
        return self._call(_XDP_ADJUST_META, I64, context, delta)

    def broadcast(self, devmap: ir.Value) -> ir.Value:
        """XDP_REDIRECT of copies to all devices of a devmap that was looked up."""
        return self._call(_REDIRECT_MAP, I64, devmap, i64(0), i64(_BROADCAST))

    def reserve(self, which: MapRef, size: int) -> ir.Value:
        """Room for a record in a ring buffer, or null."""
        return self._call(_RINGBUF_RESERVE, POINTER, self.map(which), i64(size), i64(0))

    def submit(self, record: ir.Value) -> None:
        """Hands a reserved record over."""
        self._call(_RINGBUF_SUBMIT, ir.VoidType(), record, i64(0))

    def frame_length(self, context: ir.Value) -> ir.Value:
        """The length of the frame, its fragments included."""
        return self._call(_XDP_GET_BUFF_LEN, I64, context)

    def load_bytes(self, context: ir.Value, offset: ir.Value, to: ir.Value, length: ir.Value) -> ir.Value:
        """Copies bytes out of the frame. 0: done."""
        return self._call(_XDP_LOAD_BYTES, I64, context, offset, to, length)
