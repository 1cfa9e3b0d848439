# SPDX-License-Identifier: Apache-2.0
"""The controller's configuration: TOML files, checked whole at start.

Every value has a default, so that an empty file is a working configuration; relative paths are relative to
its folder. `examples.py` holds both files with each key explained.
"""

import ipaddress
import tomllib
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from hvchannel_control.addresses import mac_of_interface
from hvchannel_control.config_errors import explained
from hvchannel_control.config_fields import (
    MAX_PORT,
    METADATA_IP,
    InterfaceName,
    LinkIp,
    Mac,
    Port,
    PortKey,
    RootedPath,
    SocketPath,
    VlanId,
    Vni,
    as_text,
    socket_path,
)

_FULL_FRAME = 1522  # a 1500-byte packet with Ethernet header, 802.1Q tag and FCS


_Config = TypeVar("_Config", bound="ControllerConfig")


class ConfigError(Exception):
    """The configuration cannot be used; the text is one line that names the file and the field."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class SwitchSection(Section):
    """The vSwitch this controller programs, over P4Runtime."""

    address: str = "unix:p4rt.sock"
    allow_remote: bool = Field(default=False, strict=True)
    ca: RootedPath | None = None
    cert: RootedPath | None = None
    key: RootedPath | None = None
    device_id: int = Field(default=1, strict=True, ge=0, lt=1 << 64)
    election_id: int = Field(default=10, strict=True, ge=1, lt=1 << 64)
    architecture: Literal["v1model", "pna"] = "v1model"
    cpu_port: Port = MAX_PORT
    audit_interval_s: float = Field(default=10.0, ge=0.05, le=3600)
    pipeline_timeout_s: float = Field(default=60.0, ge=1, le=3600)
    interfaces: dict[PortKey, InterfaceName] = {}

    @field_validator("address")
    @classmethod
    def _target(cls, value: str, info: ValidationInfo) -> str:
        if value.startswith("unix:"):
            path = value.removeprefix("unix:").removeprefix("//")
            if not path:
                raise ValueError("'unix:' lacks the socket's path")
            return f"unix:{socket_path(Path(path), info)}"
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise ValueError(f"{value!r} is neither 'unix:PATH' nor 'HOST:PORT'")
        return value

    @field_validator("interfaces")
    @classmethod
    def _at_one_port_each(cls, value: dict[int, str]) -> dict[int, str]:
        ports: dict[str, int] = {}
        for port, name in value.items():
            if name in ports:
                raise ValueError(
                    f"{name} is at port {ports[name]} and at port {port}; an interface is one port"
                )
            ports[name] = port
        return value

    @model_validator(mode="after")
    def _near(self) -> Self:
        if (self.cert is None) != (self.key is None) or (self.cert is not None and self.ca is None):
            raise ValueError("for TLS give ca, or ca, cert and key")
        if self.ca is not None and self.address.startswith("unix:"):
            raise ValueError(f"address {self.address!r} is a unix socket: TLS (ca) is for HOST:PORT")
        if not self.address.startswith("unix:") and not self.allow_remote and self.ca is None:
            host = self.address.rpartition(":")[0].strip("[]")
            if not _is_loopback(host):
                raise ValueError(
                    f"address {self.address!r} is not on this machine's loopback, and P4Runtime is spoken in "
                    "clear: use unix:PATH, TLS (ca, cert, key), or set allow_remote = true"
                )
        return self


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ChannelSection(Section):
    """Addresses and identifiers both ends of the channel agree on."""

    prefix: Annotated[IPv4Network, BeforeValidator(as_text)] = IPv4Network("169.254.0.0/16")
    hypervisor_ip: LinkIp = IPv4Address("169.254.1.1")
    hypervisor_mac: Mac = "02:68:76:00:00:01"
    cip: LinkIp = IPv4Address("169.254.1.2")
    vlan: VlanId = 4094

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for name in ("hypervisor_ip", "cip"):
            address: IPv4Address = getattr(self, name)
            if not is_host_of(address, self.prefix):
                raise ValueError(f"{name} {address} is not a host's address of prefix {self.prefix}")
            if address == METADATA_IP:
                raise ValueError(f"{name} {address} is where clouds serve metadata")
        if self.cip == self.hypervisor_ip:
            raise ValueError(
                f"cip {self.cip} is hypervisor_ip too; the channel's two ends need two addresses"
            )
        return self


def is_host_of(address: IPv4Address, prefix: IPv4Network) -> bool:
    """Whether a host of the prefix may hold the address (RFC 1122 3.2.1.3: neither all-zero nor all-one)."""
    if prefix.prefixlen < 31 and address in (prefix.network_address, prefix.broadcast_address):
        return False
    return address in prefix


class HostChannelSection(ChannelSection):
    vni: Vni = 5001
    hypervisor_port: Port = 1
    reserved_vlans: frozenset[VlanId] = frozenset()

    @model_validator(mode="after")
    def _vlan_is_free(self) -> Self:
        if self.vlan in self.reserved_vlans:
            raise ValueError(f"vlan {self.vlan} is in reserved_vlans, the VLAN ids that tenants already use")
        return self


class PoolSection(Section):
    """The addresses LIPs are leased from: `first` to `last` without `excluded`."""

    first: LinkIp = IPv4Address("169.254.1.10")
    last: LinkIp = IPv4Address("169.254.254.254")
    excluded: frozenset[LinkIp] = frozenset({METADATA_IP})

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.first > self.last:
            raise ValueError(f"first {self.first} lies behind last {self.last}")
        if self.total < 1:
            raise ValueError(f"no address is left between first {self.first} and last {self.last}")
        return self

    @property
    def total(self) -> int:
        """How many LIPs there are to lease."""
        inside = sum(self.first <= address <= self.last for address in self.excluded)
        return int(self.last) - int(self.first) + 1 - inside

    def holds(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last and address not in self.excluded

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class LogicalSwitch:
    """One of a host's: its VNI, the hypervisor's port on it, its LIPs, and the VLAN id of an attachment that names
    none."""

    vni: int
    hypervisor_port: int
    pool: PoolSection
    vlan: int


class FurtherPoolSection(PoolSection):
    """Of a further logical switch, which has no default: it is a part that no other switch has."""

    first: LinkIp
    last: LinkIp


class FurtherSwitchSection(Section):
    """A logical switch beside the one that `channel` and `pool` describe."""

    vni: Vni
    hypervisor_port: Port
    vlan: VlanId | None = None  # None: channel.vlan
    pool: FurtherPoolSection


class PolicerSection(Section):
    """What one guest may send, at the host's vSwitch; what exceeds it is dropped."""

    rate_bytes_per_s: int = Field(default=12_500_000, strict=True, ge=1, lt=1 << 62)
    burst_bytes: int = Field(default=1_250_000, strict=True, ge=_FULL_FRAME, lt=1 << 62)


class ControllerConfig(Section):
    """What both profiles have."""

    socket: SocketPath = Path("control.sock")
    socket_mode: Literal["0600", "0660"] = "0600"
    pipeline: RootedPath | None = None
    switch: SwitchSection

    @model_validator(mode="before")
    @classmethod
    def _sections_have_defaults(cls, data: Any) -> Any:
        # A section left out is one with all its defaults, checked like any other.
        if not isinstance(data, dict):
            return data
        sections = (
            name
            for name, field in cls.model_fields.items()
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        )
        return {**{name: {} for name in sections}, **data}


class HostConfig(ControllerConfig):
    """Of the host profile."""

    state: RootedPath = Path("control.db")
    channel: HostChannelSection
    pool: PoolSection
    policer: PolicerSection
    logical_switch: tuple[FurtherSwitchSection, ...] = ()

    @cached_property
    def switches(self) -> dict[int, LogicalSwitch]:
        """All logical switches by VNI, the default one first."""
        channel = self.channel
        default = LogicalSwitch(channel.vni, channel.hypervisor_port, self.pool, channel.vlan)
        further = (
            LogicalSwitch(other.vni, other.hypervisor_port, other.pool, other.vlan or channel.vlan)
            for other in self.logical_switch
        )
        return {switch.vni: switch for switch in (default, *further)}

    @model_validator(mode="after")
    def _no_clash(self) -> Self:
        if self.channel.hypervisor_port == self.switch.cpu_port:
            raise ValueError(
                f"channel.hypervisor_port {self.channel.hypervisor_port} is switch.cpu_port too; use two ports"
            )
        self._check_pool("pool", self.pool)
        before: dict[str, FurtherSwitchSection | None] = {"channel": None}
        for number, further in enumerate(self.logical_switch):
            name = f"logical_switch.{number}"
            self._check_further(name, further, before)
            before[name] = further
        return self

    def _check_pool(self, name: str, pool: PoolSection) -> None:
        channel = self.channel
        for end, address in (("first", pool.first), ("last", pool.last)):
            if not is_host_of(address, channel.prefix):
                raise ValueError(
                    f"{name}.{end} {address} is not a host's address of channel.prefix {channel.prefix}"
                )
        taken = {
            "channel.hypervisor_ip": channel.hypervisor_ip,
            "channel.cip": channel.cip,
            "the clouds' metadata address": METADATA_IP,
        }
        for what, address in taken.items():
            if pool.holds(address):
                raise ValueError(
                    f"{name} {pool} holds {what} {address}; narrow it or add that to {name}.excluded"
                )

    def _check_further(
        self, name: str, further: FurtherSwitchSection, before: dict[str, FurtherSwitchSection | None]
    ) -> None:
        """`before`: the switches it must not clash with, by name; None is the default one."""
        self._check_pool(f"{name}.pool", further.pool)
        if further.hypervisor_port == self.switch.cpu_port:
            raise ValueError(
                f"{name}.hypervisor_port {further.hypervisor_port} is switch.cpu_port too; use two ports"
            )
        if further.vlan is not None and further.vlan in self.channel.reserved_vlans:
            raise ValueError(f"{name}.vlan {further.vlan} is in channel.reserved_vlans, which tenants use")
        for other_name, section in before.items():
            other, other_pool = section or self.channel, section.pool if section else self.pool
            pool_name = f"{other_name}.pool" if section else "pool"
            if further.vni == other.vni:
                raise ValueError(
                    f"{name}.vni {further.vni} is {other_name}.vni too; every logical switch has its own"
                )
            if further.hypervisor_port == other.hypervisor_port:
                raise ValueError(
                    f"{name}.hypervisor_port {further.hypervisor_port} is {other_name}.hypervisor_port too; "
                    "the hypervisor has a port on every logical switch"
                )
            if further.pool.first <= other_pool.last and other_pool.first <= further.pool.last:
                raise ValueError(
                    f"{name}.pool {further.pool} overlaps {pool_name} {other_pool}; give each a part of its own"
                )


class GuestVifSection(Section):
    """The guest's own VIF."""

    vif_id: str = Field(default="vif", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    vnic: str = "eth0"
    mac: Mac | None = None
    vnic_port: Port = 2
    daemon_port: Port = 1

    @model_validator(mode="after")
    def _two_ports(self) -> Self:
        if self.vnic_port == self.daemon_port:
            raise ValueError(f"vnic_port {self.vnic_port} is daemon_port too; use two ports")
        return self


class GuestConfig(ControllerConfig):
    """Of the guest profile."""

    channel: ChannelSection
    vif: GuestVifSection

    @model_validator(mode="after")
    def _no_clash(self) -> Self:
        for name in ("vnic_port", "daemon_port"):
            if getattr(self.vif, name) == self.switch.cpu_port:
                raise ValueError(f"vif.{name} {self.switch.cpu_port} is switch.cpu_port too; use two ports")
        if self.vif.mac == self.channel.hypervisor_mac:
            raise ValueError(
                f"vif.mac {self.vif.mac} is channel.hypervisor_mac too; the two ends need two MACs"
            )
        return self

    def vif_mac(self) -> str:
        """The VIF's MAC: `vif.mac`, else that of the interface `vif.vnic`.

        Raises ConfigError when the interface is absent or its MAC is the hypervisor's.
        """
        if self.vif.mac is not None:
            return self.vif.mac
        try:
            mac = mac_of_interface(self.vif.vnic)
        except ValueError as error:
            raise ConfigError(f"vif.vnic: {error} (name another, or set vif.mac)") from error
        if mac == self.channel.hypervisor_mac:
            raise ConfigError(
                f"vif.vnic: {self.vif.vnic} has channel.hypervisor_mac {mac}; the two ends need two MACs"
            )
        return mac


def load_host(path: Path) -> HostConfig:
    """Reads a host profile's file. Raises ConfigError."""
    return _load(path, HostConfig)


def load_guest(path: Path) -> GuestConfig:
    """Reads a guest profile's file. Raises ConfigError."""
    return _load(path, GuestConfig)


def _load(path: Path, model: type[_Config]) -> _Config:
    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    try:
        return model.model_validate(data, context={"base": path.absolute().parent})
    except ValidationError as error:
        raise ConfigError(f"{path}: {'; '.join(explained(e, model) for e in error.errors())}") from error
