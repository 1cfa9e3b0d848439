# SPDX-License-Identifier: Apache-2.0
"""ROLLBACK_ON_ERROR and DATAPLANE_ATOMIC (section "Batch Atomicity"): a batch applied whole, or undone.

Where data path and server share one thread (`Engine.atomic_batches`), no packet sees the middle of a batch, applied or
undone. Elsewhere packets may, and the server refuses DATAPLANE_ATOMIC.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from finsy.proto import p4r

from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError
from hvchannel_softswitch.p4runtime.pipeline import Pipeline
from hvchannel_softswitch.p4runtime.undo import TableOrder, undo_of
from hvchannel_softswitch.p4runtime.updates import apply_update

_log = structlog.get_logger(__name__)


def apply_all_or_none(
    pipeline: Pipeline, updates: Sequence[p4r.Update]
) -> Sequence[P4RuntimeError | None] | None:
    """Applies the updates until one is refused; then those before it are undone, and those after it not tried.

    None when all went well; else an error for every update, ABORTED for all but the refused one.
    """
    undos: list[Callable[[], None]] = []
    order = TableOrder(pipeline, updates)
    for place, update in enumerate(updates):
        try:
            undo = _undo_of(pipeline, update)
            apply_update(pipeline, update)
            undos.append(undo)
        except P4RuntimeError as error:
            _log.debug("batch_rolled_back", code=error.code.name, reason=error.message, update=place)
            for step in reversed(undos):
                step()
            order.restore()
            return _errors(error, place, len(updates))
    return None


def _undo_of(pipeline: Pipeline, update: p4r.Update) -> Callable[[], None]:
    try:
        return undo_of(pipeline, update)
    except P4RuntimeError:
        # Such an update is refused when it is applied, and with the code and the words it would get alone.
        apply_update(pipeline, update)
        raise


def _errors(refusal: P4RuntimeError, place: int, count: int) -> Sequence[P4RuntimeError | None]:
    undone = P4RuntimeError(Code.ABORTED, f"undone: update {place + 1} of the batch was refused")
    untried = P4RuntimeError(Code.ABORTED, f"not tried: update {place + 1} of the batch was refused")
    return [undone] * place + [refusal] + [untried] * (count - place - 1)
