# SPDX-License-Identifier: Apache-2.0
"""Errors as P4Runtime reports them: one status for an RPC, or one p4.v1.Error per update of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from finsy.proto import p4r, rpc_status
from google.protobuf import any_pb2

SHOWN_CHOICES = 8
"""A message travels in gRPC metadata, of which many clients accept 8 KB: long lists are cut."""

MAX_DETAILS = 48 * 1024
"""Bytes of `grpc-status-details-bin`, under the 64 KB that P4Runtime clients commonly allow."""

_LENGTH_BYTES = 4
"""At most, of the tags and lengths around one p4.v1.Error."""


class Code(Enum):
    """google.rpc.Code, the part this server uses."""

    OK = 0
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13


class P4RuntimeError(Exception):
    """A request refused: a canonical code, and one line naming the offender and the valid choices."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> P4RuntimeError:
    """INVALID_ARGUMENT, the code of anything malformed."""
    return P4RuntimeError(Code.INVALID_ARGUMENT, message)


def check_presence(kind: p4r.Update.Type.ValueType, what: str, *, is_there: bool) -> None:
    """Raises ALREADY_EXISTS for an INSERT of what is there, NOT_FOUND for the rest of what is not."""
    if kind == p4r.Update.INSERT and is_there:
        raise P4RuntimeError(Code.ALREADY_EXISTS, f"{what} is already there")
    if kind != p4r.Update.INSERT and not is_there:
        raise P4RuntimeError(Code.NOT_FOUND, f"{what} is not there")


def choices(named_ids: Iterable[tuple[str, int]], word: str = "valid") -> str:
    """`(valid: 'a' (ID 1), 'b' (ID 2))`, cut after SHOWN_CHOICES."""
    return f"({word}: {listing([f'{name!r} (ID {number})' for name, number in named_ids])})"


def listing(items: Sequence[str]) -> str:
    """The items with commas between, cut after SHOWN_CHOICES; `none` when there are none."""
    if not items:
        return "none"
    shown = ", ".join(items[:SHOWN_CHOICES])
    hidden = len(items) - SHOWN_CHOICES
    return f"{shown} and {hidden} more" if hidden > 0 else shown


def batch_status(errors: Sequence[P4RuntimeError | None], message: str) -> rpc_status.Status:
    """The google.rpc.Status of a batch, one p4.v1.Error per element in the order of the batch, OK ones
    included (section "Error Reporting" of the Write RPC).

    Codes are always kept. Texts are left out once they would outgrow what clients are advised to accept ("gRPC
    Metadata Maximum Size": 8192 bytes and 100 more for each update) or MAX_DETAILS.
    """
    status = rpc_status.Status(code=Code.UNKNOWN.value, message=message)
    budget = min(6 * 1024 + 90 * len(errors), MAX_DETAILS)
    room = budget - sum(_pack(error, "").ByteSize() + _LENGTH_BYTES for error in errors)
    for error in errors:
        text = error.message if error is not None else ""
        room -= len(text.encode())
        status.details.append(_pack(error, text if room >= 0 else ""))
    return status


def _pack(error: P4RuntimeError | None, text: str) -> any_pb2.Any:
    code = error.code if error is not None else Code.OK
    packed = any_pb2.Any()
    packed.Pack(p4r.Error(canonical_code=code.value, message=text))
    return packed
