# SPDX-License-Identifier: Apache-2.0
"""Which address the kernel would send from.

gRPC for Python cannot bind a client's source address: the route decides. So hostd asks the kernel before it
dials, and does not dial when the answer is not the hypervisor's address on the channel: the packets would
leave by another interface, onto a network where nobody expects them.
"""

import socket


class WrongRoute(Exception):  # noqa: N818 - a fact about this host
    """The route to a VIF does not leave from the hypervisor's address on the channel."""


def check_source(address: str, port: int, source: str) -> None:
    """Raises WrongRoute when packets to address:port would not come from `source`. Sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, port))
        except OSError as error:
            raise WrongRoute(f"no route to {address}: {error.strerror}") from error
        chosen = probe.getsockname()[0]
    if chosen != source:
        raise WrongRoute(f"the route to {address} leaves from {chosen}, not from {source}")
