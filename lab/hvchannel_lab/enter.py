# SPDX-License-Identifier: Apache-2.0
"""Starts a program, in a network namespace if so asked, tied to the life of the process that asked.

Run as a plain file by `python -I -S enter.py NAMESPACE PARENT_PID -- PROGRAM ARG...` (no site, no package: it
costs a few milliseconds), and replaced by the program at the end, so that no process of its own remains. The
kernel kills the program when its parent goes, however it goes (prctl(2), PR_SET_PDEATHSIG).
"""

import ctypes
import os
import signal
import sys

CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def set_namespace(descriptor: int) -> None:
    """Moves the calling thread into the network namespace of an open descriptor. Raises OSError."""
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when its parent goes. Raises ProcessLookupError when it is gone."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl: {os.strerror(error)}")
    if os.getppid() != parent:  # it went before the call above, which therefore waits for somebody else
        raise ProcessLookupError(f"process {parent}, which asked for this one, is gone")


def main(argv: list[str]) -> int:
    """Does not return when all is well. 126: the program could not be started, 2: called wrongly.

    The namespace "-" is the one that it is in.
    """
    if len(argv) < 4 or argv[2] != "--":
        print("usage: enter.py NAMESPACE PARENT_PID -- PROGRAM ARG...", file=sys.stderr)
        return 2
    namespace, parent, command = argv[0], int(argv[1]), argv[3:]
    try:
        die_with_parent(parent)
        if namespace != "-":
            set_namespace(os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC))
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        where = "" if namespace == "-" else f" in namespace {namespace}"
        print(f"cannot start {command[0]}{where}: {error}", file=sys.stderr)
        return 126


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
