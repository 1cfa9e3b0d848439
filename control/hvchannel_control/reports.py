# SPDX-License-Identifier: Apache-2.0
"""What the vSwitch reports by itself, as log events and counters: digests and packets for the controller."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address

import structlog

from hvchannel_control.addresses import format_mac

_LOG_INTERVAL_S = 5.0
_SHOWN_BYTES = 64

log = structlog.get_logger()


class Reports:
    """Counts every report and logs the first per source, then one in five seconds with the number left out.

    A source is an ingress port and a VNI, which the attachment gives a frame: everything else in a spoofed frame is
    what its sender chose, and would let it flood the log. `vif_at` names the VIF at a port with a VNI (0: not known),
    or None.
    """

    def __init__(
        self, vif_at: Callable[[int, int], str | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.digests: Counter[str] = Counter()
        self._vif_at = vif_at
        self._clock = clock
        self._logged_at: dict[tuple[str, int, int], float] = {}
        self._left_out: Counter[tuple[str, int, int]] = Counter()

    def digest(self, name: str, values: Mapping[str, int]) -> None:
        """One frame's digest, with the names of its P4 struct."""
        self.digests[name] += 1
        port, vni = values.get("port", 0), values.get("vni", 0)
        left_out = self._due(name, port, vni)
        if left_out is not None:
            shown = {key: _show(key, value) for key, value in values.items()}
            log.warning("drop_reported", digest=name, vif=self._vif_at(port, vni), left_out=left_out, **shown)

    def packet_in(self, metadata: Mapping[str, int], payload: bytes) -> None:
        """A packet that the vSwitch passed to the controller."""
        port, reason = metadata.get("ingress_port", 0), metadata.get("reason", 0)
        left_out = self._due(f"packet_in {reason}", port, 0)
        if left_out is not None:
            log.info(
                "packet_in",
                port=port,
                vif=self._vif_at(port, 0),
                reason=reason,
                bytes=len(payload),
                head=payload[:_SHOWN_BYTES].hex(),
                left_out=left_out,
            )

    def _due(self, name: str, port: int, vni: int) -> int | None:
        """How many were left out since the last that was logged, or None when this one is to be."""
        source, now = (name, port, vni), self._clock()
        if now - self._logged_at.get(source, -_LOG_INTERVAL_S) < _LOG_INTERVAL_S:
            self._left_out[source] += 1
            return None
        self._logged_at[source] = now
        return self._left_out.pop(source, 0)


def _show(name: str, value: int) -> int | str:
    if name.endswith("_mac"):
        return format_mac(value)
    if name.endswith("_ip"):
        return str(IPv4Address(value))
    return value
