# SPDX-License-Identifier: Apache-2.0
"""The interpreter engine: a program's model turned into one Python function per packet.

`generate` writes that function as source text; what it says is the reference semantics, readable in
`Interpreter.source()`. `tables`, `meters` and `hashes` are what the function calls.
"""

from hvchannel_softswitch.interpreter.engine import Interpreter

__all__ = ["Interpreter"]
