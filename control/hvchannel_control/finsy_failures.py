# SPDX-License-Identifier: Apache-2.0
"""Why finsy gave a switch up, which it tells in its log only."""

import logging

_FINSY = logging.getLogger("finsy")


class FinsyFailures(logging.Filter):
    """Takes finsy's report of a failed task out of the log and keeps its cause, for one switch; a context
    manager."""

    def __init__(self, switch_name: str) -> None:
        super().__init__()
        self._task_prefix = f"fy:{switch_name}|"
        self._cause: BaseException | None = None

    def take(self) -> BaseException | None:
        """The first cause since the last call."""
        cause, self._cause = self._cause, None
        return cause

    def filter(self, record: logging.LogRecord) -> bool:
        if "gNMI is not implemented" in record.msg:
            return False  # true of most P4Runtime servers, and nothing here needs it
        failed = record.exc_info is not None and isinstance(record.args, tuple) and len(record.args) == 1
        if not failed or not str(record.args[0]).startswith(self._task_prefix):  # type: ignore[index]
            return True
        if self._cause is None and record.exc_info:
            self._cause = record.exc_info[1]
        return False

    def __enter__(self) -> "FinsyFailures":
        _FINSY.addFilter(self)
        return self

    def __exit__(self, *_: object) -> None:
        _FINSY.removeFilter(self)
