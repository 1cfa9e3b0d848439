# SPDX-License-Identifier: Apache-2.0
"""What a feed consists of in a NATS server: two key-value buckets and two streams, by the site's name.

docs/feed.md tells operators the same: whoever changes one changes the other.
"""

import asyncio
import json
import uuid
from dataclasses import dataclass
from typing import Any, Final

from nats.js.api import DiscardPolicy, RePublish, StreamConfig
from nats.js.errors import APIError

from hvchannel_daemons.feed.interface import HISTORY_REVISIONS, FeedError
from hvchannel_daemons.feed.jetstream.link import REQUEST_SECONDS, Link, MissingError
from hvchannel_daemons.feed.jetstream.records import Stored, lifted

REPORTS_KEPT: Final = 10_000  # of one VIF
_MARK: Final = "=g"  # no key begins like that


def encoded(name: str) -> str:
    """A VIF id, host or key as one token of a subject: our names have no '=', a token has no '.' and is not empty."""
    return name.replace(".", "=2E") or "="


def decoded(token: str) -> str:
    return token.replace("=2E", ".").strip("=")


def names(subject: str) -> tuple[str, str]:
    """VIF and key of a document's or an ack's subject."""
    vif, key = subject.split(".")[-2:]
    return decoded(vif), decoded(key)


def group_of(subject: str) -> str:
    """The id of the group whose mark has this subject; empty when it is a document's."""
    token = subject.rpartition(".")[2]
    return token.removeprefix(_MARK) if token.startswith(_MARK) else ""


@dataclass(frozen=True, slots=True)
class Layout:
    """Names of the streams and subjects of one site's feed."""

    name: str

    @property
    def documents(self) -> str:
        return f"KV_{self._documents}"

    @property
    def state(self) -> str:
        return f"KV_{self._state}"

    @property
    def pieces(self) -> str:
        return f"hvchannel-{self.name}-pieces"

    @property
    def reports(self) -> str:
        return f"hvchannel-{self.name}-reports"

    @property
    def streams(self) -> tuple[str, ...]:
        return (self.documents, self.state, self.pieces, self.reports)

    @property
    def origin(self) -> str:
        """Of one token, unlike the documents beside it."""
        return f"$KV.{self._documents}.origin"

    def document(self, vif: str, key: str) -> str:
        return f"$KV.{self._documents}.{encoded(vif)}.{encoded(key)}"

    def documents_of(self, vif: str | None) -> str:
        return f"$KV.{self._documents}.{encoded(vif) if vif else '*'}.*"

    def group(self, vif: str, group: str) -> str:
        """Of the mark that is stored when all members of a group are; one of `documents_of` the VIF."""
        return f"$KV.{self._documents}.{encoded(vif)}.{_MARK}{group}"

    def quota(self, vif: str) -> str:
        return f"$KV.{self._state}.quota.{encoded(vif)}"

    def ack(self, vif: str, key: str) -> str:
        return f"$KV.{self._state}.ack.{encoded(vif)}.{encoded(key)}"

    def acks_of(self, vif: str | None) -> str:
        return f"$KV.{self._state}.ack.{encoded(vif) if vif else '*'}.*"

    def session(self, host: str, vif: str) -> str:
        return f"$KV.{self._state}.session.{encoded(host)}.{encoded(vif)}"

    def sessions_of(self, host: str | None) -> str:
        return f"$KV.{self._state}.session.{encoded(host) if host is not None else '*'}.*"

    def owner(self, vif: str | None) -> str:
        """Which hypervisor holds the VIF; None: of all."""
        return f"$KV.{self._state}.owner.{encoded(vif) if vif else '*'}"

    def host(self, host: str) -> str:
        """Which process is the hypervisor's hostd."""
        return f"$KV.{self._state}.host.{encoded(host)}"

    def call(self, host: str) -> str:
        """Not stored: the hypervisor's hostd answers here as long as it lives."""
        return f"hvchannel.{self.name}.hostd.{encoded(host)}"

    def news(self, vif: str) -> str:
        """Not stored: here the server itself tells of each change of the VIF's owner and documents once it is."""
        return f"hvchannel.{self.name}.news.{encoded(vif)}.>"

    def owner_news(self, vif: str) -> str:
        return f"hvchannel.{self.name}.news.{encoded(vif)}.owner"

    def piece(self, content: str, n: int) -> str:
        return f"hvchannel.{self.name}.pieces.{content}.{n}"

    def pieces_of(self, content: str) -> str:
        return f"hvchannel.{self.name}.pieces.{content}.*"

    def pieces_of_vif(self, vif: str) -> str:
        return f"hvchannel.{self.name}.pieces.{encoded(vif)}.*.*"

    def new_content(self, vif: str) -> str:
        """A handle for contents of the VIF in pieces."""
        return f"{encoded(vif)}.{uuid.uuid4().hex}"

    def report_content(self, vif: str, identity: str) -> str:
        """The handle of a report's content: the same at every try, so that what an earlier one left is written over."""
        return f"{encoded(vif)}.report-{identity}"

    def content_of(self, piece: str) -> str:
        """The handle that a piece's subject belongs to."""
        return ".".join(piece.split(".")[-3:-1])

    def is_of_report(self, content: str) -> bool:
        return ".report-" in content

    def reports_of(self, vif: str | None) -> str:
        return f"hvchannel.{self.name}.reports.{encoded(vif) if vif else '*'}"

    @property
    def _documents(self) -> str:
        return f"hvchannel-{self.name}-documents"

    @property
    def _state(self) -> str:
        return f"hvchannel-{self.name}-state"

    def configurations(self, replicas: int) -> list[StreamConfig]:
        top = f"hvchannel.{self.name}"

        def bucket(name: str, about: str, republish: RePublish) -> StreamConfig:
            return StreamConfig(
                name=f"KV_{name}",
                description=about,
                subjects=[f"$KV.{name}.>"],
                max_msgs_per_subject=HISTORY_REVISIONS,
                discard=DiscardPolicy.NEW,
                allow_rollup_hdrs=True,
                deny_delete=True,
                num_replicas=replicas,
                republish=republish,
                allow_direct=False,  # reads by the leader only: a follower may not know the newest yet
            )

        def stream(name: str, about: str, subject: str, each: int, discard: DiscardPolicy) -> StreamConfig:
            return StreamConfig(
                name=name,
                description=about,
                subjects=[subject],
                max_msgs_per_subject=each,
                discard=discard,
                num_replicas=replicas,
                allow_direct=False,
            )

        documents = RePublish(self.documents_of(None), f"{top}.news.$1.document.$2", headers_only=True)
        owners = RePublish(self.owner(None), f"{top}.news.$1.owner")
        return [
            bucket(self._documents, "hvchannel: what each VIF shall have", documents),
            bucket(self._state, "hvchannel: what each VIF has, who holds it, and its sessions", owners),
            stream(self.pieces, "hvchannel: large contents", f"{top}.pieces.>", 1, DiscardPolicy.NEW),
            stream(self.reports, "hvchannel: reports", f"{top}.reports.*", REPORTS_KEPT, DiscardPolicy.OLD),
        ]


async def ensure(link: Link, layout: Layout, *, create: bool, replicas: int | None) -> None:
    """Finds the four streams, or makes them. Raises FeedError."""
    wanted = replicas or (3 if await _servers(link) >= 3 else 1)
    for config in layout.configurations(wanted):
        name = config.name
        assert name is not None
        try:
            info = await link.call(lambda name=name: link.js.stream_info(name))  # type: ignore[misc]
        except MissingError:
            if not create:
                raise FeedError(
                    f"feed {link.url}: there is no feed of name {layout.name!r} (hostd and put make one)"
                ) from None
            await link.call(lambda config=config: link.js.add_stream(config))  # type: ignore[misc]
            continue
        if (config.republish is None) != (info.config.republish is None):
            raise FeedError(
                f"feed {link.url}: was made by an earlier release, and hostd would not hear of its changes "
                "(put its documents into a feed of another name)"
            )
        if replicas is not None and create and info.config.num_replicas != replicas:
            changed = info.config.evolve(num_replicas=replicas)
            await link.call(lambda changed=changed: link.js.update_stream(changed))  # type: ignore[misc]


async def _servers(link: Link) -> int:
    """How many servers the cluster has, as far as the one we speak to has heard from them."""
    # a cluster that comes up tells its clients of the others one by one
    info = link.nc._server_info
    if not info.get("cluster"):
        return 1
    for _ in range(10):
        if len(link.nc.servers) + len(link.nc.discovered_servers) >= 3:
            break
        await asyncio.sleep(0.05)
    return len({server.netloc for server in (*link.nc.servers, *link.nc.discovered_servers)})


async def subjects(link: Link, stream: str, pattern: str) -> tuple[list[str], int]:
    """The subjects of a pattern that have messages, and the stream's last sequence before that. Raises FeedError."""
    found: dict[str, int] = {}
    sequence = -1

    async def ask() -> dict[str, Any]:
        asked = json.dumps({"subjects_filter": pattern, "offset": len(found)}).encode()
        message = await link.nc.request(f"$JS.API.STREAM.INFO.{stream}", asked, timeout=REQUEST_SECONDS)
        answer: dict[str, Any] = json.loads(message.data)
        if "error" in answer:
            raise APIError.from_error(answer["error"])
        return answer

    while True:
        try:
            answer = await link.call(ask)
        except MissingError as error:
            raise FeedError(f"feed {link.url}: its stream {stream} is gone") from error
        state = answer["state"]
        sequence = state["last_seq"] if sequence < 0 else sequence
        more = state.get("subjects") or {}
        found |= more
        if not more or len(found) >= answer.get("total", 0):  # the server tells of 100,000 at a time
            return list(found), sequence


async def last(link: Link, stream: str, subject: str) -> Stored | None:
    """The last message of a subject (which may have wildcards); None when there is none. Raises FeedError."""
    try:
        message = await link.call(lambda: link.js.get_last_msg(stream, subject))
    except MissingError:
        return None
    return lifted(message)


async def at(link: Link, stream: str, sequence: int) -> Stored | None:
    """The message at a sequence; None when it is gone. Raises FeedError."""
    try:
        message = await link.call(lambda: link.js.get_msg(stream, seq=sequence))
    except MissingError:
        return None
    return lifted(message)


async def following(link: Link, stream: str, subject: str, after: int) -> Stored | None:
    """The first message of a subject (which may have wildcards) after a sequence; None when there is none. Raises
    FeedError."""
    try:
        message = await link.call(lambda: link.js.get_msg(stream, seq=after + 1, subject=subject, next=True))
    except MissingError:
        return None
    return lifted(message)
