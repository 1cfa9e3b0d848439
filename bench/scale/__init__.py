# SPDX-License-Identifier: Apache-2.0
"""One hypervisor with many VIFs, real but for its guests: how long until all are ready, how long until all hold a
document, and what each process takes for it."""
