# SPDX-License-Identifier: Apache-2.0
"""p4c's Simple Test Framework: a program's entries, the packets to send and those to expect, in one text file.

    for statement in language.parse(path.read_text()):    # what the file says
    verdict = play(model.load(json_text), statements)     # what an interpreter makes of it

The language is that of p4c's tools/stf with the commands that its backends/bmv2 adds.
"""

from hvchannel_softswitch.stf.language import SyntaxFault, parse
from hvchannel_softswitch.stf.player import play

__all__ = ["SyntaxFault", "parse", "play"]
