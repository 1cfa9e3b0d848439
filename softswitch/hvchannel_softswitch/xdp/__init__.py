# SPDX-License-Identifier: Apache-2.0
"""The XDP engine: a program of `model` compiled to eBPF by LLVM and attached to the ports, its tables in memory that
this process and the kernel share.

    layout       where everything is in that memory: read this first
    lower/       the program as LLVM IR; codegen: from there to eBPF; compiled: loaded into the kernel
    arena ...    tables, counters, meters and registers as the control plane writes them; engine: all of them together
    reports      what the program tells this process; tracing: a packet's way, out of that
    frames       the whole engine
    ports ...    the interfaces that it runs on, what stays there when this process dies
"""
