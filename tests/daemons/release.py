# SPDX-License-Identifier: Apache-2.0
"""hostd or guestd of one release, as a process of its own: this one, or the next, which speaks a version more.

    python release.py this|next STUBS APPLIED hostd|guestd ARGUMENTS...

The next release's version of the protocol gives each document the time at which it was put, and each ack the time at
which the document became durable. STUBS: channel_pb2.py with those two fields. Each release ends at once, with exit
code 70, when a session uses what its version has not, or lacks what it has. To the file APPLIED guestd appends
"KEY REVISION" for each document that it makes its own.
"""

import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

VIOLATION = 70
LATER_FIELDS = {
    "  bytes data = 7;           // the first piece": "uint64 put_unix_ns = 15;",
    "  uint64 held_revision = 5;": "uint64 durable_unix_ns = 15;",
}
"""What the next release's .proto has, by the line before which it stands."""


def main() -> None:
    release, stubs, applied, program, *arguments = sys.argv[1:]
    if release == "next":
        _load_stubs(Path(stubs))
    from hvchannel_daemons.channel import versions

    this = versions.SPOKEN
    later = this.greatest + 1
    if release == "next":
        versions.SPOKEN = versions.Versions(this.least, later)
    sys.argv = [program, *arguments]
    if program == "hostd":
        from hvchannel_daemons.hostd import main as daemon

        _patch_hostd(later)
    else:
        from hvchannel_daemons.guestd import main as daemon

        _patch_guestd(later)
        _note_applied(Path(applied))
    daemon.main()


def _load_stubs(path: Path) -> None:
    """In the place of the package's own, before anything imports those."""
    import hvchannel_daemons.channel as package

    name = f"{package.__name__}.channel_pb2"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = package.channel_pb2 = module  # type: ignore[attr-defined]
    spec.loader.exec_module(module)


def _patch_hostd(later: int) -> None:
    from hvchannel_daemons.hostd.session import HostSession

    negotiate, send, read = HostSession._negotiate, HostSession._send, HostSession._read

    async def negotiating(self: Any) -> Any:
        self.version = 0
        peer = await negotiate(self)
        self.version = peer.version
        return peer

    async def sending(self: Any, message: Any) -> None:
        if message.WhichOneof("message") == "begin" and self.version >= later:
            message.begin.put_unix_ns = time.time_ns()
        await send(self, message)

    async def reading(self: Any) -> Any:
        message = await read(self)
        if message.WhichOneof("message") == "acks":
            for ack in message.acks.acks:
                _check(ack, "durable_unix_ns", self.version >= later)
        return message

    HostSession._negotiate, HostSession._send, HostSession._read = negotiating, sending, reading


def _patch_guestd(later: int) -> None:
    from hvchannel_daemons.guestd.session import GuestSession

    begin, send = GuestSession.__init__, GuestSession._send

    class Reading:
        """The session's stream, each document's beginning looked at."""

        def __init__(self, context: Any, session: Any) -> None:
            self._context, self._session = context, session

        def __getattr__(self, name: str) -> Any:
            return getattr(self._context, name)

        async def read(self) -> Any:
            message = await self._context.read()
            if hasattr(message, "WhichOneof") and message.WhichOneof("message") == "begin":
                _check(message.begin, "put_unix_ns", self._session.version >= later)
            return message

    def beginning(self: Any, context: Any, *arguments: Any) -> None:
        begin(self, Reading(context, self), *arguments)

    async def sending(self: Any, message: Any) -> None:
        if message.WhichOneof("message") == "acks" and self.version >= later:
            for ack in message.acks.acks:
                ack.durable_unix_ns = time.time_ns()
        await send(self, message)

    GuestSession.__init__, GuestSession._send = beginning, sending


def _note_applied(file: Path) -> None:
    from hvchannel_daemons.guestd.store import Applied, GuestStore

    original = GuestStore.apply

    async def apply(self: Any, binding: Any, documents: Any) -> Any:
        results = await original(self, binding, documents)
        with file.open("a") as lines:
            for arrived, result in zip(documents, results, strict=True):
                if result.applied is Applied.STORED:
                    lines.write(f"{arrived.key} {arrived.revision}\n")
        return results

    GuestStore.apply = apply  # type: ignore[method-assign]


def _check(message: Any, field: str, expected: bool) -> None:
    from google.protobuf.unknown_fields import UnknownFieldSet

    if len(UnknownFieldSet(message)):
        _violated(f"{message} has what this release does not know")
    if bool(getattr(message, field, 0)) is not expected:
        _violated(f"{message}: {field} is {'missing' if expected else 'not of this session'}")


def _violated(text: str) -> NoReturn:
    print(f"violation: {text}", file=sys.stderr, flush=True)
    os._exit(VIOLATION)


if __name__ == "__main__":
    main()
