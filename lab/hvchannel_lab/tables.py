# SPDX-License-Identifier: Apache-2.0
"""Reads a running vSwitch's tables over P4Runtime, as anybody may: a read needs no arbitration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from finsy.proto import p4i, p4r, p4r_grpc

_TIMEOUT = 10.0  # seconds, per call
VERDICT_TABLES = ("verdict", "egress_verdict")


class SwitchReadError(RuntimeError):
    """The vSwitch did not answer, or has no program; the message names it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A table entry in the P4Info's names. Counters are None where the table has no direct counter.

    `match` holds an int per exact key, and a (value, mask or prefix length or high end) pair per any other.
    """

    table: str
    match: dict[str, int | tuple[int, int]]
    action: str
    args: dict[str, int]
    packets: int | None = None
    bytes: int | None = None

    def matches(self, **keys: int) -> bool:
        """Whether the entry has these values in these keys; keys not named may have any."""
        return all(self.match.get(name) == value for name, value in keys.items())


class SwitchReader:
    """One connection to one vSwitch. A context manager; blocking."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._channel = grpc.insecure_channel(f"unix:{socket}")
        self._stub: Any = p4r_grpc.P4RuntimeStub(self._channel)
        self._info: p4i.P4Info | None = None
        self._device = 1

    def __enter__(self) -> SwitchReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def info(self) -> p4i.P4Info:
        """The running program's P4Info. Raises SwitchReadError."""
        if self._info is None:
            request = p4r.GetForwardingPipelineConfigRequest(
                device_id=self._device,
                response_type=p4r.GetForwardingPipelineConfigRequest.P4INFO_AND_COOKIE,
            )
            with self._errors():
                answer = self._stub.GetForwardingPipelineConfig(request, timeout=_TIMEOUT)
            self._info = answer.config.p4info
        return self._info

    def tables(self, *names: str) -> dict[str, list[Entry]]:
        """Entries by table name, of these tables or of all. Raises SwitchReadError, KeyError for a name."""
        by_name = {table.preamble.alias: table for table in self.info().tables}
        chosen = [by_name[name] for name in names] if names else list(by_name.values())
        request = p4r.ReadRequest(device_id=self._device)
        for table in chosen:
            entry = request.entities.add().table_entry
            entry.table_id = table.preamble.id
            if self._has_counter(table):
                entry.counter_data.SetInParent()
        found: dict[str, list[Entry]] = {table.preamble.alias: [] for table in chosen}
        tables = {table.preamble.id: table for table in chosen}
        with self._errors():
            for response in self._stub.Read(request, timeout=_TIMEOUT):
                for entity in response.entities:
                    table = tables[entity.table_entry.table_id]
                    found[table.preamble.alias].append(self._decode(table, entity.table_entry))
        return found

    def verdicts(self) -> dict[str, int]:
        """Packets by verdict, ingress and egress, zeros included. Raises SwitchReadError."""
        return {
            entry.action: entry.packets or 0
            for entries in self.tables(*VERDICT_TABLES).values()
            for entry in entries
        }

    def _has_counter(self, table: p4i.Table) -> bool:
        counters = {counter.preamble.id for counter in self.info().direct_counters}
        return any(resource in counters for resource in table.direct_resource_ids)

    def _decode(self, table: p4i.Table, entry: p4r.TableEntry) -> Entry:
        names = {field.id: field.name for field in table.match_fields}
        actions = {action.preamble.id: action for action in self.info().actions}
        call = entry.action.action
        action = actions[call.action_id]
        parameters = {parameter.id: parameter.name for parameter in action.params}
        counted = self._has_counter(table)
        return Entry(
            table=table.preamble.alias,
            match={names[field.field_id]: _value(field) for field in entry.match},
            action=action.preamble.alias,
            args={parameters[p.param_id]: int.from_bytes(p.value, "big") for p in call.params},
            packets=entry.counter_data.packet_count if counted else None,
            bytes=entry.counter_data.byte_count if counted else None,
        )

    def _errors(self) -> _RpcErrors:
        return _RpcErrors(self._socket)


class _RpcErrors:
    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
            raise SwitchReadError(
                f"vSwitch at {self._socket}: {error.code().name}: {error.details()}"
            ) from None


def _value(field: p4r.FieldMatch) -> int | tuple[int, int]:
    match field.WhichOneof("field_match_type"):
        case "exact":
            return int.from_bytes(field.exact.value, "big")
        case "optional":
            return int.from_bytes(field.optional.value, "big")
        case "lpm":
            return int.from_bytes(field.lpm.value, "big"), field.lpm.prefix_len
        case "ternary":
            return int.from_bytes(field.ternary.value, "big"), int.from_bytes(field.ternary.mask, "big")
        case "range":
            return int.from_bytes(field.range.low, "big"), int.from_bytes(field.range.high, "big")
        case other:
            raise SwitchReadError(f"match kind {other} is not one of exact, optional, lpm, ternary, range")


def mac_text(value: int) -> str:
    """48 bits as "02:68:76:00:00:01"."""
    return value.to_bytes(6, "big").hex(":")


def named_entries(entries: dict[str, list[Entry]]) -> Iterator[Entry]:
    """All entries of several tables, in the tables' order."""
    for table in entries.values():
        yield from table
