# SPDX-License-Identifier: Apache-2.0
"""Write and Read of DigestEntry: which digests are sent, and how they are bundled."""

from __future__ import annotations

from collections.abc import Iterator

from finsy.proto import p4r

from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, invalid
from hvchannel_softswitch.p4runtime.pipeline import Pipeline


def write_digest_entry(pipeline: Pipeline, kind: p4r.Update.Type.ValueType, message: p4r.DigestEntry) -> None:
    """INSERT turns a digest on, MODIFY changes its parameters, DELETE turns it off."""
    digest = pipeline.program.digest(message.digest_id)
    queue = pipeline.digests[digest.full_name]
    if kind == p4r.Update.INSERT and queue.config is not None:
        raise P4RuntimeError(
            Code.ALREADY_EXISTS, f"digest {digest.name!r} is already on (valid: MODIFY, DELETE)"
        )
    if kind != p4r.Update.INSERT and queue.config is None:
        raise P4RuntimeError(Code.NOT_FOUND, f"digest {digest.name!r} is off (valid: INSERT)")
    if kind == p4r.Update.DELETE:
        queue.disable()
        return
    config = p4r.DigestEntry.Config()
    config.CopyFrom(message.config)
    if min(config.max_timeout_ns, config.max_list_size, config.ack_timeout_ns) < 0:
        raise invalid(
            f"digest {digest.name!r}: max_timeout_ns, max_list_size and ack_timeout_ns cannot be negative"
        )
    queue.enable(config)


def read_digest_entries(pipeline: Pipeline, wanted: p4r.DigestEntry) -> Iterator[p4r.DigestEntry]:
    """The digests that are on: all of them (id 0) or the one asked for."""
    if wanted.digest_id:
        digests = [pipeline.program.digest(wanted.digest_id)]
    else:
        digests = list(pipeline.program.digests.values())
    for digest in digests:
        config = pipeline.digests[digest.full_name].config
        if config is not None:
            yield p4r.DigestEntry(digest_id=digest.id, config=config)
