# SPDX-License-Identifier: Apache-2.0
"""What runs inside a lab's QEMU guest besides the channel's own programs: its init, and the lab's window."""

PORT = "org.hvchannel.lab.window"
"""The virtio-serial port of the lab's window."""
