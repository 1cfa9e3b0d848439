# SPDX-License-Identifier: Apache-2.0
"""`hvchannel-control`: the controller of one vSwitch, in its host or its guest profile."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import structlog
import typer
from hvchannel_privilege.start import give_up
from hvchannel_telemetry import exposition
from hvchannel_telemetry.exposition import MetricsAddressError
from hvchannel_telemetry.metrics_address import MetricsAddress
from hvchannel_telemetry.metrics_options import AllowAny, MetricsAt, PerVif, metrics_address
from prometheus_client import CollectorRegistry

from hvchannel_control import commands, examples, logs
from hvchannel_control.attachments import FixedAttachment, HostAttachments, RefusedError
from hvchannel_control.compiled import find_program
from hvchannel_control.config import ConfigError, ControllerConfig, load_guest, load_host
from hvchannel_control.controller import Controller
from hvchannel_control.metrics import ControllerCollector
from hvchannel_control.profiles.guest import GuestProfile
from hvchannel_control.profiles.host import HostProfile
from hvchannel_control.server import SocketInUseError, serving
from hvchannel_control.store import Store, StoreError
from hvchannel_control.targets import TARGETS, TargetedProfile
from hvchannel_control.vif import Vif

app = typer.Typer(
    help="Keeps the tables of one vSwitch equal to what is attached to it, over P4Runtime.",
    epilog="Example: hvchannel-control host --config /etc/hvchannel/control.toml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

log = structlog.get_logger()

_Config = TypeVar("_Config", bound=ControllerConfig)


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML file; an empty one means all defaults.")
]
SocketOption = Annotated[
    Path | None, typer.Option("--socket", help="Serve the local API here, whatever the file says.")
]
PipelineOption = Annotated[
    Path | None, typer.Option("--pipeline", help="Folder of the compiled P4 program, whatever the file says.")
]
PrintOption = Annotated[
    bool, typer.Option("--print-default-config", help="Print a file with every key explained, and exit.")
]
LevelOption = Annotated[LogLevel, typer.Option("--log-level", help="Log this and what is graver.")]
JsonOption = Annotated[
    bool | None, typer.Option("--log-json/--no-log-json", help="Default: JSON unless stderr is a terminal.")
]


@app.command(epilog="Example: hvchannel-control host --print-default-config > control.toml")
def host(
    config: ConfigOption = None,
    socket: SocketOption = None,
    pipeline: PipelineOption = None,
    print_default_config: PrintOption = False,
    log_level: LevelOption = LogLevel.INFO,
    log_json: JsonOption = None,
    metrics: MetricsAt = None,
    metrics_allow_any: AllowAny = False,
    metrics_per_vif: PerVif = False,
) -> None:
    """Control a hypervisor's vSwitch: VIFs are attached and detached over the local API."""
    if print_default_config:
        typer.echo(examples.HOST, nl=False)
        return
    logs.configure(log_level, log_json)
    observe = _observe(metrics, metrics_allow_any, metrics_per_vif)
    settings = _load(load_host, config, socket, pipeline)
    give_up(writes=(settings.state, settings.state.parent, settings.socket.parent))
    store: Store | None = None
    try:
        target = TARGETS[settings.switch.architecture]
        profile = TargetedProfile(HostProfile(settings), target)
        program = find_program(profile.program, settings.pipeline, target.folder)
        store = Store(settings.state)
        attachments = HostAttachments(settings, store, _log_move)
        controller = Controller(profile, attachments, settings.switch, program, cip=settings.channel.cip)
        asyncio.run(_run(controller, settings, observe))
    except ConfigError as error:
        _fail(str(error), code=2)
    except RefusedError as error:
        _fail(
            f"{settings.state} keeps an attachment that clashes with {config}: {error} "
            "(change that, or drop the attachment: hvchannel-control forget VIF)",
            code=1,
        )
    except (StoreError, SocketInUseError, MetricsAddressError) as error:
        _fail(str(error), code=1)
    finally:
        if store is not None:
            store.close()


@app.command(epilog="Example: hvchannel-control guest --config /etc/hvchannel/control.toml")
def guest(
    config: ConfigOption = None,
    socket: SocketOption = None,
    pipeline: PipelineOption = None,
    print_default_config: PrintOption = False,
    log_level: LevelOption = LogLevel.INFO,
    log_json: JsonOption = None,
    metrics: MetricsAt = None,
    metrics_allow_any: AllowAny = False,
    metrics_per_vif: PerVif = False,
) -> None:
    """Control a virtual machine's own vSwitch: its one VIF is attached once and for all."""
    if print_default_config:
        typer.echo(examples.GUEST, nl=False)
        return
    logs.configure(log_level, log_json)
    observe = _observe(metrics, metrics_allow_any, metrics_per_vif)
    settings = _load(load_guest, config, socket, pipeline)
    give_up(writes=(settings.socket.parent,))
    try:
        target = TARGETS[settings.switch.architecture]
        guest_profile = GuestProfile(settings)
        profile = TargetedProfile(guest_profile, target)
        program = find_program(profile.program, settings.pipeline, target.folder)
        attachments = FixedAttachment(guest_profile.own_vif())
        controller = Controller(profile, attachments, settings.switch, program, cip=settings.channel.cip)
        asyncio.run(_run(controller, settings, observe))
    except ConfigError as error:
        _fail(str(error), code=2)
    except (SocketInUseError, MetricsAddressError) as error:
        _fail(str(error), code=1)


@app.command(epilog="Example: hvchannel-control forget vm1 --config /etc/hvchannel/control.toml")
def forget(
    vif_id: Annotated[str, typer.Argument(metavar="VIF", help="The VIF to forget.")],
    config: ConfigOption = None,
) -> None:
    """Drop a kept attachment while no controller runs: when it clashes with a changed configuration."""
    settings = _load(load_host, config, None, None)
    try:
        with contextlib.closing(Store(settings.state)) as store:
            kept = [vif.vif_id for vif in store.vifs()]
            if vif_id not in kept:
                names = ", ".join(kept) or "none"
                _fail(f"VIF {vif_id!r} is not kept in {settings.state} (kept: {names})", code=1)
            store.detach(vif_id)
    except StoreError as error:
        _fail(str(error), code=1)


commands.register(app, program="hvchannel-control")


def _load(
    load: Callable[[Path], _Config], config: Path | None, socket: Path | None, pipeline: Path | None
) -> _Config:
    if config is None:
        raise typer.BadParameter("give the configuration file: --config FILE", param_hint="--config")
    try:
        settings = load(config)
    except ConfigError as error:
        _fail(str(error), code=2)
    given = {"socket": socket, "pipeline": pipeline}
    return settings.model_copy(
        update={name: path.absolute() for name, path in given.items() if path is not None}
    )


@dataclass(frozen=True)
class _Observe:
    """Where metrics are served, and whether those of each VIF are."""

    at: MetricsAddress | None
    per_vif: bool


def _observe(metrics: str | None, allow_any: bool, per_vif: bool) -> _Observe:
    try:
        return _Observe(metrics_address(metrics, allow_any), per_vif)
    except ValueError as error:
        _fail(str(error), code=2)


async def _run(controller: Controller, settings: ControllerConfig, observe: _Observe) -> None:
    """Until SIGTERM or SIGINT."""
    registry = CollectorRegistry()
    registry.register(ControllerCollector(controller, per_vif=observe.per_vif))

    async def prepare() -> None:
        await controller.vswitch.read_verdicts()

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    mode = int(settings.socket_mode, 8)
    async with serving(controller, settings.socket, mode), exposition.serving(observe.at, registry, prepare):
        tasks = {asyncio.create_task(controller.vswitch.run()), asyncio.create_task(stopped.wait())}
        done, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for task in done:
            task.result()


def _log_move(old: Vif, new: Vif) -> None:
    log.warning("lease_moved", vif=old.vif_id, old=str(old.lip), new=str(new.lip))


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"hvchannel-control: {message}", err=True)
    raise typer.Exit(code)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
