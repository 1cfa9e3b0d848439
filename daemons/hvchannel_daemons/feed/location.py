# SPDX-License-Identifier: Apache-2.0
"""Where a feed is, as `--feed` says it, and what is needed to get in there. Nothing secret is ever part of a
location: it may be logged."""

import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from hvchannel_daemons.feed.interface import FeedError

FORMS: Final = "a path, nats://HOST:PORT[,HOST:PORT][/NAME] or tls://HOST:PORT[,HOST:PORT][/NAME]"
DEFAULT_NAME: Final = "default"
_PORT: Final = 4222
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class SqlitePath:
    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class NatsUrl:
    """Servers of one NATS cluster, and which feed it is there: the name of a site, whose hypervisors share it."""

    servers: tuple[str, ...]  # each "nats://host:port" or "tls://host:port"
    name: str

    @property
    def tls(self) -> bool:
        return self.servers[0].startswith("tls:")

    def __str__(self) -> str:
        scheme = "tls" if self.tls else "nats"
        return f"{scheme}://{','.join(s.partition('://')[2] for s in self.servers)}/{self.name}"


Location = SqlitePath | NatsUrl


@dataclass(frozen=True, slots=True)
class Access:
    """How to get into a NATS cluster. Files only: a command line and an environment are everybody's to read."""

    credentials: Path | None = None  # a .creds file (JWT and key), or one line user:password
    ca: Path | None = None  # PEM; the authority that signed the servers' certificates
    cert: Path | None = None  # PEM; this client's
    key: Path | None = None  # PEM; of `cert`
    replicas: int | None = None  # of each bucket; None: 3 where there are three servers, else 1

    def check(self, location: Location) -> None:
        """Raises ValueError when it does not fit the location."""
        named = {"--feed-credentials": self.credentials, "--feed-ca": self.ca, "--feed-cert": self.cert}
        given = [option for option, path in (named | {"--feed-key": self.key}).items() if path is not None]
        if isinstance(location, SqlitePath):
            if given:
                raise ValueError(f"{given[0]} is for a feed on NATS, but --feed {location} is a path")
            return
        if (self.cert is None) != (self.key is None):
            raise ValueError("--feed-cert and --feed-key go together: give both or neither")
        if not location.tls and (self.ca or self.cert):
            raise ValueError(f"{given[-1]} needs TLS: give --feed tls://... rather than {location}")
        if self.replicas not in (None, 1, 3, 5):
            raise ValueError(f"--feed-replicas {self.replicas} is not valid (valid: 1, 3, 5)")


def parse(where: str) -> Location:
    """Raises ValueError, whose text never holds what may be a password."""
    scheme = _SCHEME.match(where)
    if scheme is None:
        if not where:
            raise ValueError(f"--feed is empty (valid: {FORMS})")
        return SqlitePath(Path(where))
    if scheme[1] not in ("nats", "tls"):
        raise ValueError(f"--feed: scheme {scheme[1]!r} is not known (valid: {FORMS})")
    rest = where[scheme.end() :]
    if "@" in rest:
        raise ValueError(
            "--feed: credentials do not belong into the URL, which others can read: "
            "put user:password into a file of mode 0600 and give it by --feed-credentials"
        )
    hosts, _, name = rest.partition("/")
    name = name or DEFAULT_NAME
    if not _NAME.fullmatch(name):
        raise ValueError(f"--feed: name {name!r} is not valid (valid: 1 to 32 of A-Z a-z 0-9 _ -)")
    return NatsUrl(tuple(_server(scheme[1], host) for host in hosts.split(",")), name)


def _server(scheme: str, host: str) -> str:
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port or _PORT
    except ValueError:
        raise ValueError(f"--feed: {host!r} is no HOST:PORT (valid: {FORMS})") from None
    if not parts.hostname or parts.path or parts.query or parts.fragment:
        raise ValueError(f"--feed: {host!r} is no HOST:PORT (valid: {FORMS})")
    shown = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{shown}:{port}"


def secret_lines(path: Path, option: str) -> str:
    """The text of a file that only its owner may read. Raises FeedError, which names the file and not what is in it."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise FeedError(f"{option} {path}: mode {mode:04o} lets others read it (valid: 0600 or 0400)")
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise FeedError(f"{option} {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise FeedError(f"{option} {path}: is not text") from None
