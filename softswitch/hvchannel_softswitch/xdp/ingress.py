# SPDX-License-Identifier: Apache-2.0
"""From the interface that a frame came in by to its port: the first thing a program looks up.

    if ifindex < NEAR:  port = near[ifindex]; if port == NO_PORT: drop
    else:               port = far[ifindex];  if there is none:   drop

An ARRAY's look-up is inlined by the JIT and costs about a nanosecond, a HASH's some twenty. But an array is as long as
the highest ifindex, which a namespace counts up for each interface it ever had: so the few that are beyond it are in a
HASH, and a program needs no rebuilding when an interface comes back with such a number.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from hvchannel_softswitch.bpf import Map, MapFlag, MapKind, create_map

NEAR = 65536
"""How many ifindexes the ARRAY has room for: 512 KiB."""

PORTS = 512
"""Port numbers are below this: v1model's are 9 bits."""

NO_PORT = 0xFFFFFFFF
"""What the ARRAY holds for an interface that is no port."""

NEAR_NAME, FAR_NAME = "ingress", "ingress_far"


class Ingress:
    """The two maps. Values are port numbers as u32 of this machine's byte order, keys ifindexes alike."""

    def __init__(self, near: Map | None = None, far: Map | None = None) -> None:
        """Takes over the maps of an earlier process, or makes them. Raises OSError."""
        fresh = near is None or far is None
        if near is None or far is None:
            near = create_map(MapKind.ARRAY, 4, 4, NEAR, MapFlag.MMAPABLE, NEAR_NAME)
            far = create_map(MapKind.HASH, 4, 4, PORTS, name=FAR_NAME)
        self.near = near
        self.far = far
        self._memory = near.memory()
        self._slots = memoryview(self._memory).cast("I")  # one of two: an element takes 8 bytes
        if fresh:
            self._slots[:] = memoryview(struct.pack("=I", NO_PORT) * len(self._slots)).cast("I")

    def set(self, ifindex: int, port: int) -> None:
        """From now on, what comes in by `ifindex` comes in by `port`. Raises OSError."""
        if ifindex < NEAR:
            self._slots[2 * ifindex] = port
        else:
            self.far.update(struct.pack("=I", ifindex), struct.pack("=I", port))

    def remove(self, ifindex: int) -> None:
        """`ifindex` is no port's any longer. Raises OSError."""
        if ifindex < NEAR:
            self._slots[2 * ifindex] = NO_PORT
        else:
            self.far.delete(struct.pack("=I", ifindex))

    def entries(self) -> Mapping[int, int]:
        """Ports by ifindex. Raises OSError."""
        found = {index: port for index, port in enumerate(self._slots[::2].tolist()) if port != NO_PORT}
        for key in list(self.far.keys()):
            value = self.far.lookup(key)
            if value is not None:
                found[struct.unpack("=I", key)[0]] = struct.unpack("=I", value)[0]
        return found

    def close(self) -> None:
        """Lets go of the maps."""
        self._slots.release()
        self._memory.close()
        self.near.close()
        self.far.close()
