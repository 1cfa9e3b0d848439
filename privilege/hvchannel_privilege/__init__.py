# SPDX-License-Identifier: Apache-2.0
"""What a process may do, reduced to what it needs. Knows nobody; any program of the project may import it.

start           what a program calls first
capabilities    gives up what was not asked to be kept
reach           whether root needs a capability to reach a file
"""
