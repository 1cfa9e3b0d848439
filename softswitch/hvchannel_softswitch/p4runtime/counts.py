# SPDX-License-Identifier: Apache-2.0
"""What the server has counted since it started, for its metrics."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """`updates` are those of Write requests that were not refused as a whole, `refused_updates` of them were not
    applied; `digests` are single messages of the data path, not lists."""

    writes: int = 0
    refused_writes: int = 0
    updates: int = 0
    refused_updates: int = 0
    reads: int = 0
    commits: int = 0
    refused_pipelines: int = 0
    packet_ins: int = 0
    packet_outs: int = 0
    digests: int = 0
