# SPDX-License-Identifier: Apache-2.0
"""In CI hypothesis draws the same examples every time; what it finds elsewhere becomes a regression test."""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
