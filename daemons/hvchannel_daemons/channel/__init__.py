# SPDX-License-Identifier: Apache-2.0
"""The channel's own protocol: `channel.proto` with its guarantees,
and what both of its ends need to keep them."""
