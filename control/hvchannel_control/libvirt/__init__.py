# SPDX-License-Identifier: Apache-2.0
"""libvirt's domains at a host's controller: their VIFs are attached and detached as the domains come and go.

A client of the control API like any other; the controller knows nothing of it.
"""
