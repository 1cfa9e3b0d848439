# SPDX-License-Identifier: Apache-2.0
"""PacketOut and PacketIn: metadata fields to and from the controller header in front of a frame (section
"Packet I/O").

The header is the fields of the P4Info's ControllerPacketMetadata one after another, first field in the
highest bits.
"""

from __future__ import annotations

from finsy.proto import p4r

from hvchannel_softswitch.p4runtime.errors import choices, invalid
from hvchannel_softswitch.p4runtime.p4info import PacketHeader


def packet_out_frame(header: PacketHeader, packet: p4r.PacketOut) -> bytes:
    """The frame to inject on the CPU port. Metadata may come in any order, each field exactly once.

    Raises INVALID_ARGUMENT, or OUT_OF_RANGE for a value too wide.
    """
    known = {field.id: field for field in header}
    values: dict[int, int] = {}
    for given in packet.metadata:
        field = known.get(given.metadata_id)
        if field is None:
            raise invalid(
                f"metadata ID {given.metadata_id} is not in packet_out "
                f"{choices((f.name, f.id) for f in header)}"
            )
        if field.id in values:
            raise invalid(f"packet_out metadata {field.name!r} (ID {field.id}) is given twice")
        values[field.id] = field.decode(given.value, f"packet_out metadata {field.name!r}")
    missing = [(field.name, field.id) for field in header if field.id not in values]
    if missing:
        raise invalid(f"packet_out needs every metadata field {choices(missing, 'missing')}")
    bits = 0
    for field in header:
        bits = bits << field.width | values[field.id]
    return bits.to_bytes(header_bytes(header), "big") + packet.payload


def packet_in_message(header: PacketHeader, frame: bytes) -> p4r.PacketIn | None:
    """The message for a frame that the program sent to the CPU port, metadata by ascending id; None when the
    frame is shorter than the header."""
    size = header_bytes(header)
    if len(frame) < size:
        return None
    bits = int.from_bytes(frame[:size], "big")
    values: dict[int, bytes] = {}
    for field in reversed(header):
        values[field.id] = field.encode(bits & ((1 << field.width) - 1))
        bits >>= field.width
    metadata = [p4r.PacketMetadata(metadata_id=number, value=values[number]) for number in sorted(values)]
    return p4r.PacketIn(payload=frame[size:], metadata=metadata)


def header_bytes(header: PacketHeader) -> int:
    """The header's length in bytes; `read_program` has checked that it is whole."""
    return sum(field.width for field in header) // 8
