# SPDX-License-Identifier: Apache-2.0
"""What is sent over a route to measure it. One file per measure, with both of its ends.

The ends are fresh processes in the route's namespaces for every turn, so that no turn inherits a warm or a tired one.
Their programs use nothing but the standard library: they start in a few milliseconds.
"""
