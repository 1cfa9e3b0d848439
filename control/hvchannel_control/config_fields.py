# SPDX-License-Identifier: Apache-2.0
"""What a value of a configuration file may be: ports, identifiers, addresses, paths."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from hvchannel_control.addresses import normalise_mac

METADATA_IP = IPv4Address("169.254.169.254")
"""Where clouds serve their instance metadata: never a LIP."""

MAX_PORT = 510
"""The highest port of a 9-bit port number; v1model drops what is sent to 511."""

_MAX_SOCKET_PATH = 107  # unix(7): sun_path holds 108 bytes with its end


def rooted(value: Path, info: ValidationInfo) -> Path:
    base: Path = (info.context or {}).get("base", Path.cwd())
    return base / value


def socket_path(value: Path, info: ValidationInfo) -> Path:
    path = rooted(value, info)
    if len(str(path).encode()) > _MAX_SOCKET_PATH:
        raise ValueError(f"{path} is longer than the {_MAX_SOCKET_PATH} bytes a unix socket's path may have")
    return path


def _usable_ip(value: IPv4Address) -> IPv4Address:
    if value.is_multicast or value.is_unspecified or value.is_loopback or value == IPv4Address(0xFFFFFFFF):
        raise ValueError(f"{value} is not a unicast address of a link")
    return value


def as_text(value: object) -> object:
    # pydantic takes an integer as an address; in a configuration file that is a slip of the pen.
    if not isinstance(value, str | Path | IPv4Address | IPv4Network):
        raise ValueError("must be a string")
    return value


Mac = Annotated[str, AfterValidator(normalise_mac)]
LinkIp = Annotated[IPv4Address, BeforeValidator(as_text), AfterValidator(_usable_ip)]
Port = Annotated[int, Field(strict=True, ge=1, le=MAX_PORT)]
PortKey = Annotated[int, Field(ge=1, le=MAX_PORT)]  # TOML's keys are strings
InterfaceName = Annotated[str, Field(min_length=1, max_length=15)]
VlanId = Annotated[int, Field(strict=True, ge=1, le=4094)]
Vni = Annotated[int, Field(strict=True, ge=1, le=0xFFFFFF)]
RootedPath = Annotated[Path, AfterValidator(rooted)]
SocketPath = Annotated[Path, AfterValidator(socket_path)]
