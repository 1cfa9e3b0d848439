# SPDX-License-Identifier: Apache-2.0
"""How a process is observed: its logs and their level at run time, its metrics, its health. Knows nobody; any part of
the project may import it.

    logs             one set-up for every process: for people on a terminal, JSON lines for machines
    log_levels       changes a process's level while it runs, for a part of it, or for a while
    health           which parts of a process serve, and why one does not
    process_service  both, as gRPC's answers, whatever server carries them
    grpc_server      the same on a grpc.aio server
    private_socket   the unix socket on which a process answers its owner, and nobody else
    client           asks another process, over its unix socket
    metrics_address  where metrics are served
    metrics_options  how a command line says so
    exposition       serves them there
    scrape           reads them
"""
