# SPDX-License-Identifier: Apache-2.0
"""Where the channel to a VIF is broken: evidence from every part that can be asked, read hop by hop."""
