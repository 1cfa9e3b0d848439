# SPDX-License-Identifier: Apache-2.0
"""The controller's local API: messages and stubs generated from control.proto (`make proto`).

Nothing but protobuf and grpcio is imported here: a daemon speaks to the controller without loading it.
"""

from hvchannel_control.api import control_pb2, control_pb2_grpc

__all__ = ["control_pb2", "control_pb2_grpc"]
