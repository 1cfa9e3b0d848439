# SPDX-License-Identifier: Apache-2.0
"""Where a hook tells what it did. libvirt keeps its stderr only when it fails, and takes its stdout for XML."""

from __future__ import annotations

import logging
import logging.handlers
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_SOCKET = Path("/dev/log")


def sayer() -> Callable[[str], None]:
    """Takes one line: to stderr, and to the system's log where there is one."""
    log = logging.getLogger("hvchannel-libvirt")
    log.propagate = False
    log.setLevel(logging.INFO)
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if _SOCKET.exists():
        with suppress(OSError):  # nobody reads it
            handlers.append(
                logging.handlers.SysLogHandler(str(_SOCKET), logging.handlers.SysLogHandler.LOG_DAEMON)
            )
    log.handlers = handlers
    for handler in handlers:
        handler.setFormatter(logging.Formatter("hvchannel-libvirt: %(message)s"))
    return log.info
