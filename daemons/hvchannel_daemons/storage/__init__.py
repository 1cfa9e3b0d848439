# SPDX-License-Identifier: Apache-2.0
"""Durable storage on SQLite, as both the feed and the guest's store need it: commits in groups,
content in pieces."""
