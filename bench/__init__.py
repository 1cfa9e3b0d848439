# SPDX-License-Identifier: Apache-2.0
"""Figures side by side with peers, all measured in one run on one machine: `make bench`. Ratios are what lasts."""
