# SPDX-License-Identifier: Apache-2.0
"""The channel's server: says hello, keeps one session at a time."""

import asyncio
from typing import Final

import structlog

from hvchannel_daemons import limits
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel import channel_pb2_grpc, identity, transport
from hvchannel_daemons.channel.closing import SessionOver
from hvchannel_daemons.channel.tls import is_hypervisor
from hvchannel_daemons.channel.versions import SPOKEN, VersionMismatch, Versions, negotiate
from hvchannel_daemons.guestd import metrics, whose
from hvchannel_daemons.guestd.files import Files
from hvchannel_daemons.guestd.session import Context, GuestSession
from hvchannel_daemons.guestd.store import GuestStore

log = structlog.get_logger()

_HELLO_SECONDS: Final = 5.0


class ChannelService(channel_pb2_grpc.ChannelServicer):
    """`current` is the live session, if there is one; `last_close` says why the one before it ended."""

    def __init__(
        self, store: GuestStore, files: Files, *, versions: Versions = SPOKEN, tls: bool = False
    ) -> None:
        self.current: GuestSession | None = None
        self.last_close = ""
        self._store = store
        self._files = files
        self._versions = versions
        self._tls = tls
        self._turn = (
            asyncio.Lock()
        )  # held by the live session; whoever waits for it has told that one to stop
        self._newest = 0

    def stop(self) -> None:
        if self.current is not None:
            self.current.stop(SessionOver(pb.Closing.SHUTTING_DOWN, "guestd is shutting down"))

    async def Session(self, _requests: object, context: Context) -> None:  # type: ignore[override]  # noqa: N802
        # the stub's type knows only the generator style; this is gRPC's reader/writer style
        try:
            version, hello = await self._hello(context)
        except SessionOver as over:
            metrics.REFUSED.inc()
            log.warning("session_refused", peer=context.peer(), why=str(over))
            await context.write(pb.GuestMessage(closing=over.closing()))
            return
        self._newest += 1
        mine = self._newest
        if self.current is not None:
            self.current.stop(SessionOver(pb.Closing.SUPERSEDED, "a newer session took over"))
        async with self._turn:
            if mine != self._newest:
                late = SessionOver(pb.Closing.SUPERSEDED, "a newer session took over")
                await context.write(pb.GuestMessage(closing=late.closing()))
                return
            await self._serve(context, version, hello)

    async def _serve(self, context: Context, version: int, hello: pb.Hello) -> None:
        binding = await self._store.bind(hello.vif_id, hello.origin)
        whose.known(binding.vif)
        if binding.discarded:
            log.warning("documents_of_another_vif_discarded", vif=hello.vif_id, documents=binding.discarded)
        await self._files.publish()
        session = GuestSession(context, self._store, self._files, binding, version, hello.heartbeat_ms / 1000)
        self.current = session
        metrics.SESSIONS.inc()
        log.info(
            "session_begins",
            vif=binding.vif,
            version=version,
            peer_agent=transport.printable(hello.agent, 128),
        )
        reason = "the connection was lost"
        try:
            reason = await session.run()
        finally:
            self.current = None
            self.last_close = reason
            log.info("session_ended", vif=binding.vif, reason=reason)

    async def _hello(self, context: Context) -> tuple[int, pb.Hello]:
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                message = await context.read()
        except TimeoutError as error:
            raise SessionOver(pb.Closing.PROTOCOL_ERROR, f"no Hello within {_HELLO_SECONDS:g} s") from error
        # once the Hello is here: who is refused before it may never read why
        if self._tls and not is_hypervisor(context.auth_context().get("x509_subject_alternative_name")):
            raise SessionOver(
                pb.Closing.PROTOCOL_ERROR, f"the certificate is not a hypervisor's ({identity.HYPERVISOR})"
            )
        if transport.ended(message) or message.WhichOneof("message") != "hello":
            raise SessionOver(pb.Closing.PROTOCOL_ERROR, "the first message must be Hello")
        hello = message.hello
        try:
            version = negotiate(Versions(hello.min_version, hello.max_version), self._versions)
            limits.check_vif(hello.vif_id)
            limits.check_origin(hello.origin)
            if not 100 <= hello.heartbeat_ms <= 60_000:
                raise ValueError(f"heartbeat of {hello.heartbeat_ms} ms is not valid (valid: 100 to 60000)")
        except VersionMismatch as error:
            raise SessionOver(pb.Closing.VERSION_MISMATCH, str(error)) from error
        except ValueError as error:
            raise SessionOver(pb.Closing.PROTOCOL_ERROR, str(error)) from error
        return version, hello
