# SPDX-License-Identifier: Apache-2.0
"""A P4Runtime 1.5 server in front of one `Device`.

From the wire inwards: `server` (address, socket; gRPC itself is the package `rpc`) -> `service` (the RPCs) ->
`stream` and `arbitration` (who may write) -> `pipeline` (the program in force) -> `table_entries`, `counters_meters`,
`digests`, `packet_io` (one entity each) -> `actions`, `matches`, `values` (wire to integers) -> the engine. Most
insertions take a shorter way: `service` -> `batches` (alike updates side by side) -> `entry_shapes` -> the engine.
"""
