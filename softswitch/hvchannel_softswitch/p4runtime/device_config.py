# SPDX-License-Identifier: Apache-2.0
"""The `p4_device_config` bytes: a bare bmv2 JSON, or one wrapped in the old p4.tmp.P4DeviceConfig message,
which tutorials still send."""

from __future__ import annotations

from finsy.proto import p4i

from hvchannel_softswitch import model
from hvchannel_softswitch.p4runtime.errors import invalid

_DEVICE_DATA_FIELD = 3
_VARINT, _LENGTH_DELIMITED = 0, 2


def load_device_config(config: bytes, p4info: p4i.P4Info) -> model.Program:
    """Raises INVALID_ARGUMENT with the loader's reason."""
    if not config:
        raise invalid("p4_device_config is empty (valid: the JSON that p4c-bm2-ss writes)")
    try:
        return model.load(bare_json(config), _beside(p4info))
    except model.ProgramError as error:
        raise invalid(f"p4_device_config: {error}") from error


def _beside(p4info: p4i.P4Info) -> model.Beside:
    tables = {table.preamble.id: table.preamble.name for table in p4info.tables}
    return model.Beside(
        {tables.get(c.direct_table_id, ""): c.preamble.name for c in p4info.direct_counters},
        tuple(digest.preamble.name for digest in p4info.digests),
    )


def bare_json(config: bytes) -> bytes:
    """The JSON text of a device config in either form. Raises INVALID_ARGUMENT when it is neither."""
    if config.lstrip()[:1] == b"{":
        return config
    try:
        data = _device_data(config)
    except (IndexError, ValueError):
        data = b""
    if data.lstrip()[:1] != b"{":
        raise invalid("p4_device_config is neither a bmv2 JSON nor a p4.tmp.P4DeviceConfig holding one")
    return data


def _device_data(message: bytes) -> bytes:
    """Field `device_data` of the wrapping message {reassign: bool = 1, extras: message = 2, device_data:
    bytes = 3}, read by hand: its .proto is gone from P4Runtime."""
    at, data = 0, b""
    while at < len(message):
        tag, at = _varint(message, at)
        field, wire_type = tag >> 3, tag & 7
        number, at = _varint(message, at)
        if wire_type == _VARINT:
            continue
        if wire_type != _LENGTH_DELIMITED or at + number > len(message):
            raise ValueError("not a P4DeviceConfig")
        if field == _DEVICE_DATA_FIELD:
            data = message[at : at + number]
        at += number
    return data


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
