# SPDX-License-Identifier: Apache-2.0
"""The options by which every command says which feed it means, and whose documents: in one place."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from hvchannel_daemons.feed import Access, Feed, open_feed


@dataclass(frozen=True, slots=True)
class FeedAt:
    where: str  # empty: none was named
    access: Access

    async def open(self, *, create: bool) -> Feed:
        """Raises as `open_feed`."""
        return await open_feed(self.where, self.access, create=create)


Vif = Annotated[str, typer.Argument(help="The VIF id, such as vm1.")]
Key = Annotated[str, typer.Argument(help="The document's key, such as net/config.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]

Where = Annotated[
    str,
    typer.Option(
        "--feed",
        envvar="HVCHANNEL_FEED",
        help="The feed: path of an SQLite file, or nats://HOST:PORT,HOST:PORT/NAME, or tls://...; one server is "
        "enough, NAME is the site's, which many hypervisors share (default: default).",
        show_default=False,
    ),
]
Credentials = Annotated[
    Path | None,
    typer.Option(
        "--feed-credentials",
        envvar="HVCHANNEL_FEED_CREDENTIALS",
        help="On NATS: a .creds file, or a file of one line user:password; mode 0600.",
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option(
        "--feed-ca",
        envvar="HVCHANNEL_FEED_CA",
        help="With tls://: PEM of the authority behind the servers' certificates (default: the system's).",
    ),
]
Cert = Annotated[
    Path | None,
    typer.Option("--feed-cert", envvar="HVCHANNEL_FEED_CERT", help="With tls://: PEM of our certificate."),
]
CertKey = Annotated[
    Path | None,
    typer.Option(
        "--feed-key", envvar="HVCHANNEL_FEED_KEY", help="With --feed-cert: PEM of its key, mode 0600."
    ),
]
Replicas = Annotated[
    int | None,
    typer.Option(
        "--feed-replicas",
        envvar="HVCHANNEL_FEED_REPLICAS",
        help="On NATS: how many servers keep each document, 1, 3 or 5 (default: 3 where there are three).",
        show_default=False,
    ),
]

_OPTIONS = {
    "feed": Where,
    "feed_credentials": Credentials,
    "feed_ca": Ca,
    "feed_cert": Cert,
    "feed_key": CertKey,
    "feed_replicas": Replicas,
}


def takes_feed(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a typer command, whose parameter `at` is a FeedAt, the options that make one up."""
    signature = inspect.signature(command, eval_str=True)
    kept = [p for name, p in signature.parameters.items() if name != "at"]
    added = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default="" if name == "feed" else None,
            annotation=annotation,
        )
        for name, annotation in _OPTIONS.items()
    ]

    @functools.wraps(command)
    def with_options(*args: Any, **given: Any) -> None:
        feed, credentials, ca, cert, key, replicas = (given.pop(name) for name in _OPTIONS)
        command(*args, **given, at=FeedAt(feed, Access(credentials, ca, cert, key, replicas)))

    whole = signature.replace(parameters=[p.replace(kind=p.KEYWORD_ONLY) for p in kept] + added)
    with_options.__signature__ = whole  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in whole.parameters.values()}
    return with_options
