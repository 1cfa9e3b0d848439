# SPDX-License-Identifier: Apache-2.0
"""`hvchannel import`: many documents at once, from a directory or a file; what is there already is not put again."""

import base64
import binascii
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from hvchannel_daemons import limits
from hvchannel_daemons.command_output import fail, with_feed
from hvchannel_daemons.feed import Feed, Member
from hvchannel_daemons.feed.groups import check_group
from hvchannel_daemons.feed_options import FeedAt, takes_feed

_FIELDS = ("vif", "key", "content_type", "text", "base64", "deleted")


@dataclass(frozen=True, slots=True)
class Wanted:
    vif: str
    key: str
    content: bytes | Path | None  # None: the document is to be deleted
    content_type: str

    def read(self) -> bytes | None:
        """Raises OSError."""
        return self.content.read_bytes() if isinstance(self.content, Path) else self.content


@takes_feed
def import_documents(
    source: Annotated[str, typer.Argument(metavar="FILE|DIR", help="Or - for JSON lines on stdin.")],
    at: FeedAt,
    vif: Annotated[
        str | None, typer.Option(help="All are for this VM: then DIR/KEY rather than DIR/VIF/KEY.")
    ] = None,
    content_type: Annotated[str, typer.Option(help="Of those that do not say.")] = "application/octet-stream",
    atomic: Annotated[
        bool, typer.Option("--atomic", help="Those of each VM as one group: see `hvchannel put-group`.")
    ] = False,
) -> None:
    """Put many documents: the files of a directory, or the JSON objects of a file, one a line.

    In a directory the file DIR/vm1/net/config is document net/config of vm1. A line of a file is such as
    {"vif": "vm1", "key": "net/config", "text": "..."}, with "base64" for other content than text, "content_type" if
    wanted, "deleted": true to delete; the output of `hvchannel get --json` is such a line.

    All is checked before anything is put. Prints VIF, key and revision of each document that changed; one that is
    there already with this content and type is left as it is, so an import that was interrupted can be repeated.
    """
    try:
        wanted = list(_wanted(source, vif, content_type))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    except ValueError as error:
        fail(error, code=2)

    async def work(feed: Feed) -> tuple[int, int]:
        changed = await (_put_groups if atomic else _put_each)(feed, wanted)
        return changed, len(wanted) - changed

    changed, same = with_feed(at, work, create=True)
    typer.echo(f"{changed} changed, {same} as they were", err=True)


async def _put_each(feed: Feed, wanted: list[Wanted]) -> int:
    """How many changed. Raises FeedError, ValueError."""
    changed = 0
    for document in wanted:
        revision = await _put(feed, document)
        if revision is not None:
            changed += 1
            typer.echo(f"{document.vif} {document.key} {revision}")
    return changed


async def _put_groups(feed: Feed, wanted: list[Wanted]) -> int:
    """As `_put_each`, those of a VIF as one."""
    groups: dict[str, list[Member]] = {}
    for document in wanted:
        member = await _member(feed, document)
        if member is not None:
            groups.setdefault(document.vif, []).append(member)
    for vif, members in groups.items():
        try:
            check_group(vif, members)
        except ValueError as error:
            raise ValueError(f"VIF {vif}: {error}") from error
    changed = 0
    for vif, members in groups.items():
        revisions = await feed.put_group(vif, members)
        changed += len(revisions)
        for key, revision in revisions.items():
            typer.echo(f"{vif} {key} {revision}")
    return changed


async def _put(feed: Feed, document: Wanted) -> int | None:
    """The revision; None when the feed has it like that. Raises FeedError, ValueError."""
    member = await _member(feed, document)
    if member is None:
        return None
    if member.content is None:
        return await feed.delete(document.vif, member.key)
    return await feed.put(document.vif, member.key, member.content, member.content_type)


async def _member(feed: Feed, document: Wanted) -> Member | None:
    """What is to be put; None when the feed has it like that. Raises FeedError, ValueError."""
    try:
        content = document.read()
    except OSError as error:
        raise ValueError(f"{error.filename}: {error.strerror}") from error
    now = await feed.delivery(document.vif, document.key) if content is not None else None
    if content is not None and now is not None and not now.document.deleted:
        there = (now.document.sha256, now.document.content_type)
        if there == (hashlib.sha256(content).digest(), document.content_type):
            return None
    return Member(document.key, content, document.content_type)


def _wanted(source: str, vif: str | None, content_type: str) -> Iterator[Wanted]:
    """Checked. Raises OSError, ValueError which names the file or line."""
    limits.check_content_type(content_type)
    if source != "-" and Path(source).is_dir():
        found = _of_directory(Path(source), vif, content_type)
    else:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        found = _of_lines(source, text, vif, content_type)
    for where, document in found:
        try:
            limits.check_vif(document.vif)
            limits.check_key(document.key)
            limits.check_content_type(document.content_type)
            content = document.content
            if content is not None:
                limits.check_size(content.stat().st_size if isinstance(content, Path) else len(content))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        yield document


def _of_directory(top: Path, vif: str | None, content_type: str) -> Iterator[tuple[str, Wanted]]:
    for path in sorted(path for path in top.rglob("*") if path.is_file()):
        parts = path.relative_to(top).parts
        if vif is None and len(parts) < 2:
            raise ValueError(f"{path}: is in no VIF's directory (valid: {top}/VIF/KEY, or --vif VIF)")
        owner, key = (vif, parts) if vif is not None else (parts[0], parts[1:])
        yield str(path), Wanted(owner, "/".join(key), path, content_type)


def _of_lines(name: str, text: str, vif: str | None, content_type: str) -> Iterator[tuple[str, Wanted]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            where = f"{name}: line {number}"
            try:
                yield where, _of_object(json.loads(line), vif, content_type)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
            except RecursionError:
                raise ValueError(f"{where}: nested too deep") from None


def _of_object(said: Any, vif: str | None, content_type: str) -> Wanted:
    if not isinstance(said, dict) or not isinstance(said.get("key"), str):
        raise ValueError(f'no JSON object with a "key" (valid fields: {", ".join(_FIELDS)})')
    owner, kind = vif or said.get("vif"), said.get("content_type", content_type)
    if not isinstance(owner, str) or not isinstance(kind, str):
        raise ValueError('"vif" and "content_type" must be strings, and "vif" or --vif must be given')
    if said.get("deleted") is True:
        return Wanted(owner, said["key"], None, "")
    match said:
        case {"text": str(text), "base64": _}:
            raise ValueError('both "text" and "base64" (valid: one of them)')
        case {"text": str(text)}:
            return Wanted(owner, said["key"], text.encode(), kind)
        case {"base64": str(text)}:
            try:
                return Wanted(owner, said["key"], base64.b64decode(text, validate=True), kind)
            except binascii.Error as error:
                raise ValueError(f'"base64": {error}') from error
        case _:
            raise ValueError('no content (valid: "text" or "base64", a string, or "deleted": true)')
