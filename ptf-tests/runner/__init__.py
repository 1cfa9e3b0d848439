# SPDX-License-Identifier: Apache-2.0
"""Runs the PTF tests: standard library only, so that it needs no environment but the tests'.

`cli` picks tests (`catalogue`). `runs` starts, per bench (`benches`), a process in a network namespace of its own
(`inside`), which furnishes it (`mounts`), lays the cables (`network`), starts the switches (`targets`) and runs `ptf`;
when it ends, the kernel removes the namespace with all that is in it.
"""
