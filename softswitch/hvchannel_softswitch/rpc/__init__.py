# SPDX-License-Identifier: Apache-2.0
"""A gRPC server (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md) that lives on an asyncio loop, and on
nothing but it.

grpcio's servers, synchronous or asyncio's, run beside the loop: every call passes from its threads to Python's and
back, which costs several times what an insertion into a table does. Here a call that has arrived is answered where its
bytes were read. Frames are hyperframe's, header compression is hpack's; what lies between them is in this package:

    server       takes connections, knows the methods
    connection   one client: frames, settings, windows
    call         one call's life; `unary` and `streaming` are its kinds
    outbox       what a call sends, as far as the client's windows let it
    turns        calls share the loop with everything else on it
    headers      what a call's headers say, and those of the answers
    messages     gRPC's messages in HTTP/2's data

Without TLS and compression: the one belongs to a local socket's mode, the other to long lines.
"""

from hvchannel_softswitch.rpc.server import RpcServer
from hvchannel_softswitch.rpc.status import RpcError
from hvchannel_softswitch.rpc.streaming import StreamingMethod
from hvchannel_softswitch.rpc.unary import UnaryMethod

__all__ = ["RpcError", "RpcServer", "StreamingMethod", "UnaryMethod"]
