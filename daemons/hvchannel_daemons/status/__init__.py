# SPDX-License-Identifier: Apache-2.0
"""How each VIF is, end to end, from what the feed and the controller say."""
