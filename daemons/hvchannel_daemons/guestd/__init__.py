# SPDX-License-Identifier: Apache-2.0
"""The VM's daemon: receives documents, keeps them durably, hands them to local programs,
sends their reports back."""
