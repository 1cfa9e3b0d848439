# SPDX-License-Identifier: Apache-2.0
"""The `guestd` command: the daemon, and the clients that local programs use."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from hvchannel_privilege.capabilities import Capability
from hvchannel_privilege.start import give_up
from hvchannel_telemetry.exposition import MetricsAddressError
from hvchannel_telemetry.metrics_options import AllowAny, MetricsAt, metrics_address

from hvchannel_daemons import content, logs
from hvchannel_daemons.channel.tls import TlsError
from hvchannel_daemons.channel_options import ChannelCa, ChannelCert, ChannelKey, ChannelTls, channel_tls
from hvchannel_daemons.guestd import daemon, whose
from hvchannel_daemons.guestd.client import Change, GuestClient, GuestClientError
from hvchannel_daemons.guestd.file_access import Access, FilesError, file_mode, group_id
from hvchannel_daemons.guestd.hook_directory import HooksError
from hvchannel_daemons.guestd.hooks import HookOptions
from hvchannel_daemons.guestd.listening import ListenError, endpoint
from hvchannel_daemons.guestd.store import StoreInUse
from hvchannel_daemons.local import guest_local_pb2 as pb
from hvchannel_daemons.process import run_until_signal
from hvchannel_daemons.storage.database import DatabaseError

app = typer.Typer(
    name="guestd",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The VM's end of the channel: receives documents from the hypervisor, keeps them durably, hands "
    "them to local programs and sends their reports back.",
)

Socket = Annotated[
    Path,
    typer.Option(
        "--socket", envvar="HVCHANNEL_GUEST_SOCKET", help="guestd's unix socket for local programs."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For programs: one JSON object per line.")]
DEFAULT_SOCKET = Path("/run/hvchannel/guestd.sock")


@app.command(
    epilog="Example: guestd run --listen 169.254.1.2:2345 --state /var/lib/hvchannel "
    "--socket /run/hvchannel/guestd.sock. Example: guestd run --files /srv/documents --files-mode 0640 "
    "--files-group app --hooks /etc/hvchannel/hooks.d"
)
def run(
    listen: Annotated[
        str,
        typer.Option(help="ADDRESS:PORT on the channel (the CIP); waits until the machine has the address."),
    ] = "169.254.1.2:2345",
    state: Annotated[Path, typer.Option(help="Directory of the durable store; made with mode 0700.")] = Path(
        "/var/lib/hvchannel"
    ),
    socket: Socket = DEFAULT_SOCKET,
    files: Annotated[
        Path | None,
        typer.Option(
            help="Directory in which every document is a file; must be empty or guestd's own "
            "(default: documents in the state directory).",
            show_default=False,
        ),
    ] = None,
    no_files: Annotated[bool, typer.Option("--no-files", help="Keep no files.")] = False,
    files_mode: Annotated[
        str, typer.Option(help="Mode of the files; folders can be entered by whoever can read them.")
    ] = "0600",
    files_group: Annotated[
        str | None, typer.Option(help="Group of the files, a name or number (default: guestd's).")
    ] = None,
    hooks: Annotated[
        Path | None,
        typer.Option(
            help="Directory of executables that are run, in the order of their names, at each change.",
            show_default=False,
        ),
    ] = None,
    hook_timeout: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds after which a hook and its children are killed.")
    ] = 30.0,
    hooks_at_once: Annotated[
        int, typer.Option(min=1, max=64, help="How many documents' hooks run at the same time.")
    ] = 4,
    allow_any_address: Annotated[
        bool, typer.Option("--allow-any-address", help="Allow an address that is not link-local or loopback.")
    ] = False,
    log_level: Annotated[str, typer.Option(help=f"One of {', '.join(logs.LEVELS)}.")] = "info",
    log_json: Annotated[
        bool | None,
        typer.Option("--log-json/--no-log-json", help="Default: JSON unless stderr is a terminal."),
    ] = None,
    metrics: MetricsAt = None,
    metrics_allow_any: AllowAny = False,
    tls: ChannelTls = None,
    channel_ca: ChannelCa = None,
    channel_cert: ChannelCert = None,
    channel_key: ChannelKey = None,
) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    A hook finds the document on stdin, and HVCHANNEL_EVENT (put or delete), HVCHANNEL_KEY, HVCHANNEL_REVISION,
    HVCHANNEL_CONTENT_TYPE and HVCHANNEL_FILE in its environment; how it ended is reported to the control plane.
    A change whose hooks did not finish runs them again after a restart.
    """
    try:
        logs.set_up(log_level, log_json, whose.fields)
        where = endpoint(listen, allow_any_address=allow_any_address)
        if no_files and files is not None:
            raise ValueError("--files and --no-files exclude each other")
        metrics_at = metrics_address(metrics, metrics_allow_any)
        access = Access(file_mode(files_mode), group_id(files_group))
        channel = channel_tls(tls, channel_ca, channel_cert, channel_key)
    except (ValueError, TlsError) as error:
        _fail(error, code=2)
    options = daemon.Options(
        listen=where,
        state=state,
        socket=socket,
        metrics=metrics_at,
        tls=channel,
        files=None if no_files else files or state / "documents",
        files_access=access,
        hooks=HookOptions(hooks, hook_timeout, hooks_at_once) if hooks is not None else None,
    )

    _give_up(options)

    async def serve(stop: asyncio.Event) -> None:
        await daemon.run(options, stop)

    try:
        run_until_signal(serve)
    except (ListenError, StoreInUse, DatabaseError, FilesError, HooksError, MetricsAddressError) as error:
        _fail(error)


def _give_up(options: daemon.Options) -> None:
    """All but what it takes to give files to another group, and to kill a hook that became another user's. Hooks start
    with what they would have without guestd: they may be there for just that."""
    keep = set()
    if options.files_access.group is not None:
        keep.add(Capability.CHOWN)
    if options.hooks is not None:
        keep.add(Capability.KILL)
    writes = [options.state, options.socket.parent, *([] if options.files is None else [options.files])]
    if options.metrics is not None and options.metrics.path is not None:
        writes.append(options.metrics.path.absolute().parent)
    give_up(keep, writes=writes, but_not_of_children=options.hooks is not None)


@app.command(epilog="Example: guestd get net/config > config.json")
def get(
    key: Annotated[str, typer.Argument(help="The document's key.")],
    socket: Socket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    """Print a document's content (with --json: what is known of it, too)."""
    with _client(socket) as client:
        document, data = client.get(key)
    if as_json:
        _print_json(_about(document) | content.as_json(data))
    else:
        sys.stdout.buffer.write(data)


@app.command("list", epilog="Example: guestd list net/")
def list_documents(
    prefix: Annotated[str, typer.Argument(help="Only keys that begin with this.")] = "",
    socket: Socket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    """List the documents this VM holds."""
    with _client(socket) as client:
        for document in client.documents(prefix):
            if as_json:
                _print_json(_about(document))
            else:
                about = f"revision {document.revision}  {document.size} bytes  {document.content_type}"
                typer.echo(f"{document.key}  {about}")


@app.command(epilog="Example: guestd watch --json net/ | while read -r change; do ...; done")
def watch(
    prefix: Annotated[str, typer.Argument(help="Only keys that begin with this.")] = "",
    socket: Socket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    """Print the documents there are, then every change, until interrupted; goes on when guestd restarts.

    With --json each line has "event": "put" (with the content up to 1 MiB as "text" or "base64"),
    "deleted", or, once, "synced" when the state at the start is complete. "more": true means that the next
    line belongs to the same group: take them in together.
    """
    if not socket.exists():
        typer.echo(f"guestd: waiting for guestd to serve {socket}", err=True)
    with _client(socket) as client:
        for change in client.watch(prefix):
            if as_json:
                _print_json(_change(change))
            elif change.kind == "synced":
                continue
            elif change.document is None:
                typer.echo(f"{change.key}  revision {change.revision}  deleted")
            else:
                typer.echo(f"{change.key}  revision {change.revision}  {change.document.size} bytes")
            sys.stdout.flush()


@app.command(
    epilog="Example: echo '{\"applied\": true}' | guestd report --type answer --key net/config --revision 3 -"
)
def report(
    file: Annotated[str, typer.Argument(help="File with the report's data, or - for stdin.")] = "-",
    report_type: Annotated[str, typer.Option("--type", help="What kind of report this is.")] = "report",
    text: Annotated[str | None, typer.Option(help="The data itself, instead of a file.")] = None,
    content_type: Annotated[str, typer.Option(help="Media type of the data.")] = "application/octet-stream",
    key: Annotated[str, typer.Option(help="The document this answers.")] = "",
    revision: Annotated[int, typer.Option(min=0, help="And its revision.")] = 0,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for guestd when it is not there.")] = 10,
    socket: Socket = DEFAULT_SOCKET,
) -> None:
    """Queue a report for the control plane; prints its sequence once it is durable."""
    try:
        data = text.encode() if text is not None else content.from_argument(file)
    except OSError as error:
        _fail(f"{file}: {error.strerror}")
    with _client(socket) as client:
        typer.echo(
            client.report(
                report_type,
                data,
                content_type=content_type,
                about_key=key,
                about_revision=revision,
                wait_seconds=wait,
            )
        )


@app.command(epilog="Example: guestd status --json")
def status(socket: Socket = DEFAULT_SOCKET, as_json: Json = False) -> None:
    """Show whether the hypervisor is connected, and what is stored and queued."""
    with _client(socket) as client:
        now = client.status()
    if as_json:
        _print_json(
            {
                "vif": now.vif_id,
                "connected": now.connected,
                "synced": now.synced,
                "version": now.version,
                "documents": now.documents,
                "reports_queued": now.reports_queued,
                "last_close": now.last_close,
                "files": now.files or None,
                "files_behind": now.files_behind,
                "files_error": now.files_error,
                "hooks": now.hooks or None,
                "hooks_pending": now.hooks_pending,
                "hooks_running": now.hooks_running,
            }
        )
        return
    link = f"not connected ({now.last_close or 'no session yet'})"
    if now.connected:
        link = f"connected, protocol version {now.version}, {'synced' if now.synced else 'receiving'}"
    typer.echo(f"VIF {now.vif_id or '(not known yet)'}: {link}")
    typer.echo(f"{now.documents} documents, {now.reports_queued} reports queued")
    if now.files:
        behind = f": {now.files_behind} could not be written ({now.files_error})" if now.files_behind else ""
        typer.echo(f"files in {now.files}{behind}")
    if now.hooks:
        typer.echo(f"hooks in {now.hooks}: {now.hooks_running} run, {now.hooks_pending} changes pending")


class _client(GuestClient):  # noqa: N801 - reads as the call it is
    """A client whose errors become one line and exit code 1."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        super().__exit__(kind, error, trace)
        if isinstance(error, GuestClientError):
            _fail(error)
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(0)
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(0)


def _about(document: pb.Document) -> dict[str, Any]:
    stored = datetime.fromtimestamp(document.stored_unix_ns / 1e9, UTC)
    return {
        "key": document.key,
        "revision": document.revision,
        "content_type": document.content_type,
        "sha256": document.sha256.hex(),
        "size": document.size,
        "stored": stored.isoformat(timespec="milliseconds"),
        "file": document.file or None,
    }


def _change(change: Change) -> dict[str, Any]:
    more = {"more": True} if change.more else {}
    if change.document is None:
        about = {"key": change.key, "revision": change.revision} if change.key else {}
        return {"event": change.kind} | about | more
    inline = {} if change.content is None else content.as_json(change.content)
    return {"event": "put"} | _about(change.document) | inline | more


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value))


def _fail(error: object, *, code: int = 1) -> NoReturn:
    typer.echo(f"guestd: {error}", err=True)
    raise typer.Exit(code)


def main() -> None:
    """Entry point of `guestd`."""
    app()
