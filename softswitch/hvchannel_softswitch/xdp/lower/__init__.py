# SPDX-License-Identifier: Apache-2.0
"""A program of `model` as LLVM IR for the BPF target: one function, that a frame passes from its arrival to its end.

frame       the function being written: builder, variables, the frame's bounds
kernel      the helpers of the kernel that it calls
storage     headers and metadata: where each is, reading and writing a field
numbers     expressions
statements  what actions and parser states do
parser, lookup, pipeline, deparser   the stages of a packet's way
arrival     what a run starts from
stages      all of these, one call each
replicas    what is between ingress and egress of a packet that is multicast
program     all of it, in order
build       what can be asked for, and what comes of it
"""

from hvchannel_softswitch.xdp.lower.build import Build, Role
from hvchannel_softswitch.xdp.lower.program import lower

__all__ = ["Build", "Role", "lower"]
