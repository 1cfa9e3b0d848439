# SPDX-License-Identifier: Apache-2.0
"""What each kind of vSwitch must hold: pure functions from configuration and attachments to table entries.

Table, key and action names are those of the P4Info in p4src/compiled.
"""
