# SPDX-License-Identifier: Apache-2.0
"""What a program inside the VM needs to talk to guestd: one object over the unix socket."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from hvchannel_daemons import limits
from hvchannel_daemons.channel import transport
from hvchannel_daemons.local import guest_local_pb2 as pb
from hvchannel_daemons.local import guest_local_pb2_grpc

_RETRY_SECONDS = 0.2


class GuestClientError(Exception):
    """One line on what went wrong."""


@dataclass(frozen=True, slots=True)
class Change:
    """What `watch` yields: a document put (`content` None: too large to come inline), a key deleted, or, with
    `document` and `key` empty, that the state at the call is complete. `more`: the next one belongs to the same moment,
    because they were put as one group; who takes changes in together does so when one without `more` comes."""

    key: str = ""
    revision: int = 0
    document: pb.Document | None = None
    content: bytes | None = None
    more: bool = False

    @property
    def kind(self) -> str:
        if not self.key:
            return "synced"
        return "deleted" if self.document is None else "put"


class GuestClient:
    """Use it as a context manager. Every method raises GuestClientError."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._channel = grpc.insecure_channel(f"unix:{socket.absolute()}", options=transport.LOCAL)
        self._closed = False
        self._stub = guest_local_pb2_grpc.GuestStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends a `watch` in another thread, too."""
        self._closed = True
        self._channel.close()

    def get(self, key: str) -> tuple[pb.Document, bytes]:
        document = pb.Document()
        content = bytearray()
        try:
            for reply in self._stub.Get(pb.GetRequest(key=key)):
                if reply.WhichOneof("part") == "document":
                    document = reply.document
                    content.clear()  # replaced while it was being read: what came before is void
                else:
                    content += reply.data
        except grpc.RpcError as error:
            raise self._error(error) from error
        return document, bytes(content)

    def documents(self, prefix: str = "") -> list[pb.Document]:
        try:
            return list(self._stub.List(pb.ListRequest(prefix=prefix)))
        except grpc.RpcError as error:
            raise self._error(error) from error

    def watch(self, prefix: str = "", *, inline_bytes: int = limits.INLINE_BYTES) -> Iterator[Change]:
        """The state now, then each change, for ever; waits for guestd when it is not there, also when it restarts.
        Each revision of a key comes once, "synced" once."""
        held: Change | None = None  # it is not known yet whether another of its moment follows
        for change, ends in self._moments(prefix, inline_bytes):
            if change is not None:
                if held is not None:
                    yield replace(held, more=True)
                held = change
            if ends and held is not None:
                yield held
                held = None

    def _moments(self, prefix: str, inline_bytes: int) -> Iterator[tuple[Change | None, bool]]:
        """What is news, and whether its moment ends with it. All that a connection brings up to "synced" is one
        moment, but for the first, in which everything is news."""
        seen: dict[str, tuple[int, bytes]] = {}
        synced = False
        request = pb.WatchRequest(prefix=prefix, inline_bytes=inline_bytes)
        while not self._closed:
            current: set[str] = set()
            complete = False
            try:
                for event in self._stub.Watch(request):
                    kind = event.WhichOneof("event")
                    change: Change | None = None
                    if kind == "put":
                        document = event.put.document
                        current.add(document.key)
                        identity = (
                            document.revision,
                            document.sha256,
                        )  # revisions of two origins may be equal
                        if seen.get(document.key) != identity:
                            seen[document.key] = identity
                            content = event.put.content if event.put.inlined else None
                            change = Change(document.key, document.revision, document, content)
                    elif kind == "deleted":
                        current.discard(event.deleted.key)
                        if seen.pop(event.deleted.key, None) is not None:
                            change = Change(event.deleted.key, event.deleted.revision)
                    else:
                        complete = True
                        for key in seen.keys() - current:  # deleted while guestd was away
                            yield Change(key, seen.pop(key)[0]), False
                        yield None, True
                        if not synced:
                            synced = True
                            yield Change(), True
                        continue
                    yield change, not event.more and (complete or not synced)
            except grpc.RpcError as error:
                if not _is_away(error):
                    raise self._error(error) from error
            if not self._closed:
                time.sleep(_RETRY_SECONDS)

    def report(
        self,
        report_type: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        about_key: str = "",
        about_revision: int = 0,
        wait_seconds: float = 0,
    ) -> int:
        """Returns the report's sequence once it is durable in the guest; while guestd is not there, tries for
        `wait_seconds`, and however often it tried, the control plane gets the report once."""
        request = pb.ReportRequest(
            type=report_type,
            content_type=content_type,
            data=data,
            about_key=about_key,
            about_revision=about_revision,
            id=uuid.uuid4().bytes,
        )
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                return self._stub.Report(request).sequence
            except grpc.RpcError as error:
                if not _is_away(error) or time.monotonic() > deadline:
                    raise self._error(error) from error
            time.sleep(_RETRY_SECONDS)

    def status(self) -> pb.Status:
        try:
            return self._stub.GetStatus(pb.GetStatusRequest())
        except grpc.RpcError as error:
            raise self._error(error) from error

    def _error(self, error: grpc.RpcError) -> GuestClientError:
        if error.code() is grpc.StatusCode.UNAVAILABLE and not self._socket.exists():
            return GuestClientError(f"guestd is not running: no socket {self._socket}")
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return GuestClientError(f"guestd does not answer on {self._socket}: {error.details()}")
        return GuestClientError(error.details() or error.code().name)


def _is_away(error: grpc.RpcError) -> bool:
    """guestd is not running, or was stopped during the call."""
    return error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
