# SPDX-License-Identifier: Apache-2.0
"""The VM's daemon: receives documents, keeps them durably, hands them to local programs,
sends their reports back."""

import os

# gRPC's handlers of fork(), which uvloop's subprocesses run, halt its threads at every hook and complain on stderr.
# No hook goes on with our calls. gRPC reads this when it is imported, hence here.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
