# SPDX-License-Identifier: Apache-2.0
"""VMs that are machines: QEMU, Debian's kernel, virtio-net on a tap. Needs qemu-system-x86, apt and mkfs.ext4."""
