# SPDX-License-Identifier: Apache-2.0
"""Who may write: client arbitration by election id, per role (section "Client Arbitration and Controller
Replication").

Plain state, no I/O: a `Client` is given the messages for its stream. Nobody is ever promoted by the server:
when the primary leaves, its role has none until a client claims it with the highest election id seen so far,
or a higher one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from finsy.proto import p4r, rpc_status
from google.protobuf import any_pb2

from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, invalid, listing

MAX_CLIENTS = 64
"""Streams per role; more are refused with RESOURCE_EXHAUSTED."""


@dataclass(eq=False, slots=True)
class Client:
    """One stream. `election_id` None never becomes primary."""

    send: Callable[[p4r.StreamMessageResponse], None]
    role: str | None = None
    election_id: int | None = None


@dataclass(slots=True)
class _Role:
    name: str
    clients: list[Client] = field(default_factory=list)
    primary: Client | None = None
    highest: int | None = None
    is_named: bool = False
    config: any_pb2.Any | None = None

    @property
    def title(self) -> str:
        return f"role {self.name!r}" if self.name else "the default role"


class Arbitration:
    """All roles of one device. A role is known once a client has claimed it, and stays known."""

    def __init__(self, device_id: int) -> None:
        self.device_id = device_id
        self._roles: dict[str, _Role] = {}

    def check_device(self, device_id: int) -> None:
        """Raises NOT_FOUND, naming the device there is."""
        if device_id != self.device_id:
            raise P4RuntimeError(
                Code.NOT_FOUND, f"device ID {device_id} is not here (valid: {self.device_id})"
            )

    def arbitrate(self, client: Client, update: p4r.MasterArbitrationUpdate) -> None:
        """Takes a client's claim and notifies whom it concerns.

        Raises P4RuntimeError with the code that must end the client's stream.
        """
        name = update.role.name if update.HasField("role") else ""
        election_id = _uint128(update.election_id) if update.HasField("election_id") else None
        if client.role is None:
            self.check_device(update.device_id)
        elif update.device_id != self.device_id:
            raise P4RuntimeError(
                Code.FAILED_PRECONDITION,
                f"this stream is for device ID {self.device_id}, not {update.device_id}: open another "
                "stream for that",
            )
        elif name != client.role:
            raise P4RuntimeError(
                Code.FAILED_PRECONDITION,
                f"this stream is for role {client.role!r}, not {name!r}: open another stream for that",
            )
        role = self._roles.get(name) or _Role(name)
        self._check_claim(role, client, election_id)
        self._roles[name] = role
        if client.role is None:
            client.role = name
            role.clients.append(client)
        client.election_id = election_id
        self._elect(role, client, update)

    def leave(self, client: Client) -> None:
        """The client's stream has ended."""
        if client.role is None:
            return
        role = self._roles[client.role]
        role.clients.remove(client)
        client.role = None
        if role.primary is client:
            role.primary = None
            self._notify(role, role.clients)

    def check_primary(self, role: str, election_id: p4r.Uint128 | None) -> None:
        """A request's right to change things, in the spec's order: NOT_FOUND for an unknown role,
        PERMISSION_DENIED for anyone but its primary."""
        known = self._roles.get(role)
        if known is None:
            if role:
                names = [repr(name or "(default)") for name in self._roles]
                raise P4RuntimeError(
                    Code.NOT_FOUND, f"role {role!r} is not known here (known: {listing(names)})"
                )
            raise P4RuntimeError(
                Code.PERMISSION_DENIED, "not primary: no client has claimed the default role yet"
            )
        claimed = _uint128(election_id) if election_id is not None else None
        if known.primary is None:
            raise P4RuntimeError(Code.PERMISSION_DENIED, f"not primary: {known.title} has no primary now")
        if claimed is None or claimed != known.primary.election_id:
            raise P4RuntimeError(
                Code.PERMISSION_DENIED,
                f"not primary: the primary of {known.title} has election id {known.primary.election_id}, "
                f"the request has {claimed if claimed is not None else 'none'}",
            )

    def is_primary(self, client: Client) -> bool:
        """Whether the client is its role's primary now."""
        return client.role is not None and self._roles[client.role].primary is client

    def primaries(self) -> Iterator[Client]:
        """The primaries of all roles."""
        return (role.primary for role in self._roles.values() if role.primary is not None)

    def _check_claim(self, role: _Role, client: Client, election_id: int | None) -> None:
        if election_id is not None:
            for other in role.clients:
                if other is not client and other.election_id == election_id:
                    raise invalid(
                        f"election id {election_id} is already used by another client of {role.title}"
                    )
        if client.role is None and len(role.clients) >= MAX_CLIENTS:
            raise P4RuntimeError(
                Code.RESOURCE_EXHAUSTED, f"{role.title} has {MAX_CLIENTS} clients, the most it takes"
            )

    def _elect(self, role: _Role, client: Client, update: p4r.MasterArbitrationUpdate) -> None:
        was_primary = role.primary is client
        claim = client.election_id
        if claim is not None and (role.highest is None or claim >= role.highest):
            role.primary, role.highest = client, claim
            role.is_named = update.HasField("role")
            role.config = update.role.config if update.role.HasField("config") else None
            # The spec wants the others told before the new primary.
            self._notify(role, [other for other in role.clients if other is not client])
            self._notify(role, [client])
        elif was_primary:
            role.primary = None
            self._notify(role, role.clients)
        else:
            self._notify(role, [client])

    def _notify(self, role: _Role, clients: list[Client]) -> None:
        for client in clients:
            client.send(p4r.StreamMessageResponse(arbitration=self._notification(role, client)))

    def _notification(self, role: _Role, client: Client) -> p4r.MasterArbitrationUpdate:
        if role.primary is client:
            status = rpc_status.Status(code=Code.OK.value, message="you are primary")
        elif role.primary is not None:
            status = rpc_status.Status(
                code=Code.ALREADY_EXISTS.value, message="you are backup: another client is primary"
            )
        else:
            status = rpc_status.Status(
                code=Code.NOT_FOUND.value, message="you are backup: there is no primary"
            )
        message = p4r.MasterArbitrationUpdate(device_id=self.device_id, status=status)
        if role.name or role.is_named:
            message.role.name = role.name
        if role.config is not None:
            message.role.config.CopyFrom(role.config)
        if role.highest is not None:
            message.election_id.high, message.election_id.low = role.highest >> 64, role.highest & (2**64 - 1)
        return message


def _uint128(value: p4r.Uint128) -> int:
    return value.high << 64 | value.low
