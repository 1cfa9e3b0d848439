# SPDX-License-Identifier: Apache-2.0
"""Why a program is refused. The message is one line: where, what, and what would be right."""


class ProgramError(Exception):
    """A program that cannot be loaded."""


class MalformedProgram(ProgramError):  # noqa: N818 (reads as the condition it names)
    """The text is not a bmv2 JSON program: a name without an object, a missing attribute, a value of a wrong
    type."""


class UnsupportedProgram(ProgramError):  # noqa: N818
    """A sound program that uses something this switch does not implement."""
