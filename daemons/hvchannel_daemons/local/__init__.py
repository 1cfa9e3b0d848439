# SPDX-License-Identifier: Apache-2.0
"""guestd's API for local programs (`guest_local.proto`), over a unix socket."""
