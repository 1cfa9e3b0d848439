# SPDX-License-Identifier: Apache-2.0
"""A program of `model` as LLVM IR for the BPF target: one function, that a frame passes from its arrival to its end.

frame       the function being written: builder, variables, the frame's bounds
kernel      the helpers of the kernel that it calls
storage     headers and metadata: where each is, reading and writing a field
numbers     expressions
statements  what actions and parser states do
parser, lookup, pipeline, deparser   the stages of a packet's way
program     all of it, in order
"""

from hvchannel_softswitch.xdp.lower.program import Build, lower

__all__ = ["Build", "lower"]
