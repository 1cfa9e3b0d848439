# SPDX-License-Identifier: Apache-2.0
"""The XDP engine: a program of `model` compiled to eBPF by LLVM, its tables in memory that this process and the kernel
share.

    layout      where everything is in that memory: read this first
    lower_*     the program as LLVM IR, one file for expressions, parser, tables, deparser, ...
    arena, ...  what the control plane writes there
"""
