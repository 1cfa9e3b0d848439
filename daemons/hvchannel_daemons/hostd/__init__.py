# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's daemon: reads the feed, dials the VIFs that the controller announces,
delivers, records."""
