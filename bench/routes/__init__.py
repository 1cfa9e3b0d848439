# SPDX-License-Identifier: Apache-2.0
"""The ways from H to V that are measured side by side: H - switch - VNIC - switch - V, by one kind of switch each."""
