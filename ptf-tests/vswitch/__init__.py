# SPDX-License-Identifier: Apache-2.0
"""What the PTF tests share: the channel's addresses, the entries of both vSwitches, frames, and the base classes."""
