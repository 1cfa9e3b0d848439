# SPDX-License-Identifier: Apache-2.0
"""`python -m hvchannel_softswitch` is the same as `softswitch`."""

from hvchannel_softswitch.main import main

main()
