# SPDX-License-Identifier: Apache-2.0
"""The P4Runtime controller of a vSwitch: who is attached, at which LIP, and that the tables hold it."""
