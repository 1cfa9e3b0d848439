# SPDX-License-Identifier: Apache-2.0
"""A P4Runtime 1.5 server in front of one `Device`.

From the wire inwards: `server` (address, socket) -> `service` (the RPCs) -> `stream` and `arbitration` (who
may write) -> `pipeline` (the program in force) -> `table_entries`, `counters_meters`, `digests`, `packet_io`
(one entity each) -> `actions`, `matches`, `values` (wire to integers) -> the engine.
"""
