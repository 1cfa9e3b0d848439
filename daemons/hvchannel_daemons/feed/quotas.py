# SPDX-License-Identifier: Apache-2.0
"""What one VIF may use of its hypervisor; kept in the feed, so that it follows the VIF."""

from dataclasses import dataclass
from typing import Final

from hvchannel_daemons import limits

GIB: Final = 1024 * limits.MIB


@dataclass(frozen=True, slots=True)
class Quota:
    bytes: int = GIB  # of its live documents together
    documents: int = limits.LIVE_DOCUMENTS  # live ones
    reports_per_second: float = 50.0  # of its guest, in the long run

    def check(self) -> None:
        """Raises ValueError."""
        if self.bytes < 0:
            raise ValueError(f"{self.bytes} bytes is not valid (valid: 0 or more)")
        if not 0 <= self.documents <= limits.LIVE_DOCUMENTS:
            raise ValueError(f"{self.documents} documents is not valid (valid: 0 to {limits.LIVE_DOCUMENTS})")
        if not 0.1 <= self.reports_per_second <= 100_000:
            raise ValueError(
                f"{self.reports_per_second:g} reports per second is not valid (valid: 0.1 to 100000)"
            )


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a VIF's live documents."""

    bytes: int = 0
    documents: int = 0

    def changed(self, old_size: int | None, new_size: int | None) -> "Usage":
        """When a document of `old_size` bytes (None: there was none) becomes one of `new_size` (None: deleted)."""
        return Usage(
            self.bytes - (old_size or 0) + (new_size or 0),
            self.documents - (old_size is not None) + (new_size is not None),
        )


def refusal(vif: str, quota: Quota, used: Usage, after: Usage) -> str:
    """Why a put may not use `after`, in one line; empty when it may, as always when that is no more than was used."""
    documents = min(quota.documents, limits.LIVE_DOCUMENTS)
    if after.documents > max(documents, used.documents):
        return (
            f"VIF {vif} has {used.documents} documents already, which is the most "
            f"(at most {documents}; `hvchannel quota {vif}` shows and changes it)"
        )
    if after.bytes > max(quota.bytes, used.bytes):
        return (
            f"VIF {vif} uses {used.bytes} of {quota.bytes} bytes, {after.bytes - used.bytes} more are too many "
            f"(`hvchannel quota {vif}` shows and changes it)"
        )
    return ""
