# SPDX-License-Identifier: Apache-2.0
"""One vSwitch, kept equal to a desired state over P4Runtime: read back, diff, write, again after every
reconnect."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import cast

import finsy as fy
import structlog

from hvchannel_control.compiled import CompiledProgram
from hvchannel_control.config import SwitchSection
from hvchannel_control.entries import Count, Entry, EntryKey
from hvchannel_control.finsy_failures import FinsyFailures
from hvchannel_control.p4entries import Found, count_of, decode, encode_all, request_of, wildcards
from hvchannel_control.pipeline_deadline import give_time
from hvchannel_control.reconcile import Batch, Operation, plan
from hvchannel_control.reports import Reports

_RETRY_S = 0.5  # between two attempts to connect, and after a write that failed
_CONNECT_TIMEOUT_S = 30.0  # arbitration, and what else there is to ask before and after the pipeline's push
_VERDICTS_TIMEOUT_S = 1.0  # a status is asked for when something is wrong: it must not hang with the vSwitch
_ASK_TIMEOUT_S = 3.0
_PASSES = 5  # of read back, diff, write, until a round gives up and the next begins
_MAX_BATCH = 200  # updates per request: their errors must fit the 64 KiB of metadata that finsy takes
_AUDITED_PER_INTERVAL = 1000  # entries read back
_QUEUE = 1000  # reports waiting to be counted
_DIGESTS = 100  # per message
_DIGEST_DELAY_NS = 100_000_000
_DIGEST_ACK_NS = 1_000_000_000
# what finsy raises in a call while its channel closes: it asserts an open one, or finds none
_CLOSED = (fy.P4ClientError, TimeoutError, AssertionError, AttributeError)
_VERDICT_TABLES = ("verdict", "egress_verdict")

log = structlog.get_logger()


class SwitchError(Exception):
    """The vSwitch cannot be used now; the text is one line that says why."""


@dataclass(slots=True)
class SwitchState:
    """What is known of the vSwitch. `last_error` is empty when the last round brought it into sync."""

    connected: bool = False
    in_sync: bool = False
    reconciliations: int = 0
    writes: int = 0
    last_error: str = ""
    verdicts: dict[str, Count] = field(default_factory=dict)


class VSwitch:
    """`desired` gives what the tables should hold; `observed` hears what a read back found in them."""

    def __init__(
        self,
        name: str,
        settings: SwitchSection,
        program: CompiledProgram,
        desired: Callable[[], Iterable[Entry]],
        observed: Callable[[set[Entry]], None],
        reports: Reports,
    ) -> None:
        self.state = SwitchState()
        self._name = name
        self._settings = settings
        self._options = fy.SwitchOptions(
            p4info=program.p4info,
            p4blob=program.device_config,
            device_id=settings.device_id,
            initial_election_id=settings.election_id,
            channel_credentials=_credentials(settings),
        )
        self._desired = desired
        self._observed = observed
        self._reports = reports
        self._wake = asyncio.Event()
        self._streaming = asyncio.Lock()  # gRPC allows one write at a time on the stream
        self._switch: fy.Switch | None = None
        self._switch_seen = False
        self._entries = 0  # of the last read back
        self._log = log.bind(switch=settings.address)

    def wake(self) -> None:
        """The desired state has changed: reconcile now rather than at the next audit."""
        self._wake.set()

    async def run(self) -> None:
        """Connects, keeps the tables equal to the desired state, reconnects; until cancelled."""
        with FinsyFailures(self._name) as failures:
            while True:
                try:
                    await self._connection()
                except asyncio.CancelledError:
                    # finsy cancels its own caller when the set-up fails; only a cancellation from outside
                    # ends this.
                    if _is_cancelled():
                        raise
                    self._note(_explain(failures.take()))
                except Exception as error:
                    # a TaskGroup that ends already, for another reason, swallows a cancellation
                    if _is_cancelled():
                        raise asyncio.CancelledError from error
                    self._note(_explain(failures.take() or _first(error)))
                self.state.connected = False
                self.state.in_sync = False
                await asyncio.sleep(_RETRY_S)

    async def read_verdicts(self) -> dict[str, Count]:
        """Packets by verdict (the P4 action's name); as last known if disconnected."""
        if self._switch is not None:
            try:
                async with asyncio.timeout(_VERDICTS_TIMEOUT_S):
                    self.state.verdicts = await _read_verdicts(self._switch)
            except (fy.P4ClientError, TimeoutError, AssertionError) as error:  # finsy asserts an open channel
                self._log.debug("verdicts_not_read", error=_explain(error))
        return self.state.verdicts

    async def read(
        self, entries: Sequence[Entry], within: float = _ASK_TIMEOUT_S
    ) -> dict[EntryKey, tuple[Entry, Count]]:
        """Those of these entries, by their keys, that the vSwitch holds now, with their counters. `within`: seconds.
        Raises SwitchError."""
        switch = self._connected()
        request = [request_of(switch.p4info, entry) for entry in entries]
        try:
            async with asyncio.timeout(within):
                answers = cast(AsyncIterator[Found], switch.read(request))  # as in _table_entries
                found = [
                    (entry, count_of(each)) async for each in answers if (entry := decode(each)) is not None
                ]
        except _CLOSED as error:
            raise SwitchError(f"the vSwitch at {self._settings.address}: {_explain(error)}") from error
        return {entry.key: (entry, count) for entry, count in found}

    async def send(self, frames: Sequence[bytes], **metadata: int) -> None:
        """Injects frames by PacketOut. Raises SwitchError."""
        switch = self._connected()
        if not switch.is_primary:
            raise SwitchError(f"another controller of {self._settings.address} is primary")
        try:
            async with asyncio.timeout(_ASK_TIMEOUT_S), self._streaming:
                await switch.write([fy.P4PacketOut(frame, **metadata) for frame in frames])
        except _CLOSED as error:
            raise SwitchError(f"the vSwitch at {self._settings.address}: {_explain(error)}") from error

    def _connected(self) -> fy.Switch:
        if self._switch is None:
            why = f": {self.state.last_error}" if self.state.last_error else ""
            raise SwitchError(f"the vSwitch at {self._settings.address} is not connected{why}")
        return self._switch

    async def _connection(self) -> None:
        """One connection from arbitration to its loss, which it raises."""
        pipeline_within = self._settings.pipeline_timeout_s
        switch = fy.Switch(self._name, self._settings.address, self._options)
        give_time(switch, pipeline_within)
        link = _Link(switch, self.wake)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT_S + pipeline_within):
                    await stack.enter_async_context(switch)
            except TimeoutError as error:
                raise SwitchError(
                    f"not connected, with its pipeline, in {_CONNECT_TIMEOUT_S + pipeline_within:g} s"
                ) from error
            self.state.connected = self._switch_seen = True
            self._switch = switch
            self._log.info("switch_connected", primary=switch.is_primary, election_id=switch.election_id)
            try:
                async with asyncio.TaskGroup() as tasks:
                    for digest in switch.p4info.digests:
                        tasks.create_task(self._take_digests(switch, digest.alias))
                    tasks.create_task(self._take_packets(switch))
                    tasks.create_task(self._keep_in_sync(switch, link))
                    await link.down.wait()
                    raise SwitchError("connection lost")
            finally:
                self._switch = None

    async def _keep_in_sync(self, switch: fy.Switch, link: "_Link") -> None:
        audit = False
        while True:
            self._wake.clear()
            delay = audit_delay(self._settings.audit_interval_s, self._entries)
            if link.ready and not switch.is_primary:
                self.state.in_sync = False
                self._note(f"another controller is primary, with election id {switch.primary_id}")
            elif link.ready:
                if link.take_fresh():
                    await _enable_digests(switch)
                if await self._round(switch, audit):
                    delay = audit_delay(self._settings.audit_interval_s, self._entries)
                else:
                    delay = min(delay, _RETRY_S)
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
                audit = False
            except TimeoutError:
                audit = self.state.in_sync

    async def _round(self, switch: fy.Switch, audit: bool) -> bool:
        """Reads back, diffs and writes until nothing differs. False when the switch refuses a write.

        `audit`: nothing has been asked for since the last round, so a difference is somebody else's doing.
        """
        self.state.reconciliations += 1
        refused: list[str] = []
        for _ in range(_PASSES):
            actual = await _read(switch)
            self._entries = len(actual)
            self._observed(actual)
            batches = plan(actual, self._desired())
            if not batches:
                self._settled()
                return True
            self.state.in_sync = False
            if refused:
                break
            if audit:
                self._log.warning("tables_changed_by_another", example=str(batches[0][0]))
            refused = await self._write(switch, batches)
        if (
            self._wake.is_set() and not refused
        ):  # what is desired has changed all the while: the next round goes on
            return True
        self._note(refused[0] if refused else "the tables change faster than they can be read back")
        return False

    async def _write(self, switch: fy.Switch, batches: list[Batch]) -> list[str]:
        """Writes the batches and returns what the switch refused of them.

        A batch with a refused deletion is the last: what follows counts on it. Anything else that is missing
        makes the tables drop more, and holds nothing up. Raises P4ClientError when a whole request was
        refused.
        """
        refused: list[str] = []
        written: Counter[str] = Counter()
        for batch in batches:
            for start in range(0, len(batch), _MAX_BATCH):
                updates = batch[start : start + _MAX_BATCH]
                refused += await _write_request(switch, updates)
                written.update(update.operation.value for update in updates)
                for update in updates:
                    self._log.debug("update", update=str(update))
            if refused and batch[0].operation is Operation.DELETE:
                break
        self.state.writes += written.total()
        self._log.info("tables_written", **written, refused=len(refused))
        return refused

    async def _take_digests(self, switch: fy.Switch, name: str) -> None:
        async for digests in switch.read_digests(name, queue_size=_QUEUE):
            for values in digests:
                self._reports.digest(name, {key: int(value) for key, value in values.items()})
            async with self._streaming:
                await switch.write([digests.ack()])

    async def _take_packets(self, switch: fy.Switch) -> None:
        async for packet in switch.read_packets(queue_size=_QUEUE):
            self._reports.packet_in(packet.metadata, packet.payload)

    def _settled(self) -> None:
        if not self.state.in_sync:
            self._log.info("in_sync", writes=self.state.writes)
        self.state.in_sync = True
        self.state.last_error = ""

    def _note(self, error: str) -> None:
        """Logs an error once, however often it repeats."""
        if error != self.state.last_error:
            # At the start the vSwitch may simply not be up yet.
            level = "error" if self._switch_seen else "info"
            getattr(self._log, level)("not_in_sync", error=error)
        self.state.last_error = error


class _Link:
    """What finsy tells of one connection."""

    def __init__(self, switch: fy.Switch, on_ready: Callable[[], None]) -> None:
        self.down = asyncio.Event()
        self.ready = False  # the pipeline is in place, and the role is settled
        self._fresh = False
        self._on_ready = on_ready
        switch.ee.on(fy.SwitchEvent.CHANNEL_DOWN, lambda _: self.down.set())
        switch.ee.on(fy.SwitchEvent.BECOME_PRIMARY, self._unsettled)
        switch.ee.on(fy.SwitchEvent.BECOME_BACKUP, self._unsettled)
        switch.ee.on(fy.SwitchEvent.CHANNEL_READY, self._settled)

    def take_fresh(self) -> bool:
        """Whether the switch became ready since the last call: it may have forgotten what it was asked."""
        fresh, self._fresh = self._fresh, False
        return fresh

    def _unsettled(self, _: fy.Switch) -> None:
        self.ready = False

    def _settled(self, _: fy.Switch) -> None:
        self.ready = self._fresh = True
        self._on_ready()


def audit_delay(interval: float, entries: int) -> float:
    """Seconds until the next read back when nothing changes. It grows with what is to be read, so that a vSwitch at
    rest costs much the same with a thousand VIFs as with one."""
    return interval * max(1.0, entries / _AUDITED_PER_INTERVAL)


async def _read(switch: fy.Switch) -> set[Entry]:
    found = cast(AsyncIterator[Found], switch.read(wildcards(switch.p4info)))  # as in _table_entries
    return {entry async for each in found if (entry := decode(each)) is not None}


async def _write_request(switch: fy.Switch, updates: Batch) -> list[str]:
    try:
        await switch.write(encode_all(updates))
    except fy.P4ClientError as error:
        if not error.details:
            raise
        return [
            f"{updates[index]}: {detail.canonical_code.name}: {detail.message}"
            for index, detail in error.details.items()
        ]
    return []


async def _read_verdicts(switch: fy.Switch) -> dict[str, Count]:
    tables = [table for table in _VERDICT_TABLES if switch.p4info.tables.get(table) is not None]
    counts: dict[str, Count] = {}
    request = [fy.P4TableEntry(table, counter_data=fy.P4CounterData()) for table in tables]
    async for entry in _table_entries(switch, request):
        if isinstance(entry.action, fy.P4TableAction) and entry.counter_data is not None:
            counts[entry.action.name] = Count(entry.counter_data.packet_count, entry.counter_data.byte_count)
    return counts


def _table_entries(switch: fy.Switch, request: list[fy.P4TableEntry]) -> AsyncIterator[fy.P4TableEntry]:
    # finsy's overloads declare the async generator as a coroutine.
    return cast(AsyncIterator[fy.P4TableEntry], switch.read(request))


async def _enable_digests(switch: fy.Switch) -> None:
    """Asks for every digest of the program. Not every switch can be asked what it was asked before, so just
    do it."""
    for digest in switch.p4info.digests:
        wanted = {
            "max_list_size": _DIGESTS,
            "max_timeout_ns": _DIGEST_DELAY_NS,
            "ack_timeout_ns": _DIGEST_ACK_NS,
        }
        try:
            await switch.write([+fy.P4DigestEntry(digest.alias, **wanted)])
        except fy.P4ClientError as error:
            if any(d.canonical_code is not fy.GRPCStatusCode.ALREADY_EXISTS for d in error.details.values()):
                raise
            await switch.write([~fy.P4DigestEntry(digest.alias, **wanted)])


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _explain(error: BaseException | None) -> str:
    if error is None:
        return "connection lost"
    if isinstance(error, fy.P4ClientError):
        if error.code is fy.GRPCStatusCode.UNAVAILABLE:
            return f"cannot be reached: {error.message.rpartition('error: ')[2]}"
        return f"{error.code.name}: {error.message or 'the vSwitch gives no reason'}"  # bmv2 often gives none
    if isinstance(error, SwitchError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _credentials(settings: SwitchSection) -> fy.GRPCCredentialsTLS | None:
    if settings.ca is None:
        return None
    return fy.GRPCCredentialsTLS(cacert=settings.ca, cert=settings.cert, private_key=settings.key)
