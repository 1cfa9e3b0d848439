# SPDX-License-Identifier: Apache-2.0
"""The engine in the kernel: a program compiled to eBPF, on the ports' interfaces."""
