# SPDX-License-Identifier: Apache-2.0
"""A forwarding pipeline: one program, its P4Info, its engine, and what P4Runtime keeps beside the engine's
state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from finsy.proto import p4r

from hvchannel_softswitch import model
from hvchannel_softswitch.engine import Engine, EntryKey
from hvchannel_softswitch.p4runtime.alignment import align, with_initial_entries
from hvchannel_softswitch.p4runtime.device import Device, Loaded
from hvchannel_softswitch.p4runtime.device_config import load_device_config
from hvchannel_softswitch.p4runtime.digests import DigestQueue, DigestSender
from hvchannel_softswitch.p4runtime.entry_shapes import EntryShapes
from hvchannel_softswitch.p4runtime.errors import invalid
from hvchannel_softswitch.p4runtime.p4info import Program
from hvchannel_softswitch.p4runtime.profile_state import ProfileState
from hvchannel_softswitch.p4runtime.read_p4info import read_program
from hvchannel_softswitch.p4runtime.translations import Translations


@dataclass(frozen=True, slots=True)
class Cookies:
    """What a client attaches to an entry and reads back (`controller_metadata`, `metadata`)."""

    controller_metadata: int = 0
    metadata: bytes = b""


@dataclass(slots=True)
class Pipeline:
    """`const_keys` and `cookies` are by table id; the default entry's cookies have the key None.
    `set_defaults` are the ids of the tables whose default action a client has set. `profiles` are by id;
    `multicast_groups` and `clone_sessions`, by their number, as clients wrote them."""

    config: p4r.ForwardingPipelineConfig
    program: Program
    engine: Engine
    commit: Callable[[], None]
    digests: Mapping[str, DigestQueue]
    const_keys: Mapping[int, frozenset[EntryKey]]
    shapes: EntryShapes
    cookies: dict[int, dict[EntryKey | None, Cookies]] = field(default_factory=dict)
    set_defaults: set[int] = field(default_factory=set)
    profiles: dict[int, ProfileState] = field(default_factory=dict)
    multicast_groups: dict[int, p4r.MulticastGroupEntry] = field(default_factory=dict)
    clone_sessions: dict[int, p4r.CloneSessionEntry] = field(default_factory=dict)

    def cookies_of(self, table_id: int, key: EntryKey | None) -> Cookies:
        """An entry's cookies, empty ones if it has none."""
        return self.cookies.get(table_id, {}).get(key, _NO_COOKIES)

    def keep_cookies(self, table_id: int, key: EntryKey | None, cookies: Cookies) -> None:
        """Empty cookies take no room."""
        if cookies.controller_metadata or cookies.metadata:
            self.cookies.setdefault(table_id, {})[key] = cookies
        else:
            self.cookies.get(table_id, {}).pop(key, None)

    def close(self) -> None:
        """It will not run again: lets go of what it holds."""
        self.quiet()
        self.engine.close()

    def quiet(self) -> None:
        """Cancels the digests' timers."""
        for queue in self.digests.values():
            queue.disable()


_NO_COOKIES = Cookies()


@dataclass(frozen=True, slots=True)
class Verified:
    """A config that this switch can run: the P4Info's view and the JSON's, which agree."""

    info: Program
    code: model.Program


def verify(config: p4r.ForwardingPipelineConfig, translations: Translations | None = None) -> Verified:
    """`translations` None: no mapping is configured.

    Raises INVALID_ARGUMENT, naming what is missing, unsupported, or different in P4Info and JSON.
    """
    if not config.HasField("p4info"):
        raise invalid("the config has no p4info (valid: the P4Info that p4c wrote beside the JSON)")
    code = load_device_config(config.p4_device_config, config.p4info)
    info = align(read_program(config.p4info, translations or Translations()), code)
    return Verified(info, with_initial_entries(info, code))


def build_pipeline(
    device: Device,
    config: p4r.ForwardingPipelineConfig,
    send_digests: DigestSender,
    translations: Translations | None = None,
) -> Pipeline:
    """Checks a config and builds its engine; nothing runs until `commit()`. Raises INVALID_ARGUMENT."""
    verified = verify(config, translations)
    try:
        loaded = device.load(verified.code, config.SerializeToString())
    except model.ProgramError as error:
        raise invalid(f"p4_device_config: {error}") from error
    return _pipeline(config, verified.info, loaded, send_digests)


def left_pipeline(
    device: Device, config: bytes, send_digests: DigestSender, translations: Translations | None = None
) -> Pipeline:
    """The pipeline that a process before this one left running, by the config that it kept. Raises INVALID_ARGUMENT."""
    parsed = p4r.ForwardingPipelineConfig.FromString(config)
    verified = verify(parsed, translations)
    return _pipeline(parsed, verified.info, device.take_over(verified.code), send_digests)


def _pipeline(
    config: p4r.ForwardingPipelineConfig, program: Program, loaded: Loaded, send_digests: DigestSender
) -> Pipeline:
    return Pipeline(
        config=config,
        program=program,
        engine=loaded.engine,
        commit=loaded.commit,
        digests={digest.full_name: DigestQueue(digest, send_digests) for digest in program.digests.values()},
        const_keys={
            table.id: frozenset(
                entry.key for entry in loaded.engine.entries(table.full_name) if entry.is_const
            )
            for table in program.tables.values()
            if table.has_initial_entries
        },
        shapes=EntryShapes(program, loaded.engine),
        profiles={profile.id: ProfileState(profile) for profile in program.profiles.values()},
    )
