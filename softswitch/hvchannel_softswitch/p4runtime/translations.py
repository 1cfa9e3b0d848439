# SPDX-License-Identifier: Apache-2.0
"""@p4runtime_translation: the controller's values of a type to the data plane's and back (sections "User-defined
types" and "PSA Metadata Translation").

Each URI has a mapping. One that the operator has configured is used as it is, and no other value is valid. Without
one, numbers stand for themselves, and each string gets the lowest free number, from 1 up, when it is first written;
it keeps that number for as long as the switch runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, invalid, listing
from hvchannel_softswitch.p4runtime.values import to_bytes, to_int

SdnValue: TypeAlias = int | str
Mappings: TypeAlias = Mapping[str, Mapping[SdnValue, int]]
"""By URI: the data plane's value of each of the controller's."""


class _Mapping:
    """One URI's values, one to one."""

    def __init__(self, uri: str, configured: Mapping[SdnValue, int] | None) -> None:
        self.uri = uri
        self.is_configured = configured is not None
        self.to_device: dict[SdnValue, int] = dict(configured or {})
        self.to_sdn: dict[int, SdnValue] = {value: sdn for sdn, value in self.to_device.items()}

    def bind(self, sdn: SdnValue, value: int) -> None:
        self.to_device[sdn] = value
        self.to_sdn[value] = sdn


@dataclass(frozen=True, slots=True)
class Translation:
    """How the values of one field are translated. `sdn_width`: the controller's numbers in bits; None: strings."""

    mapping: _Mapping
    sdn_width: int | None

    @property
    def is_string(self) -> bool:
        """Whether the controller sees strings."""
        return self.sdn_width is None

    def decode(self, data: bytes, width: int, what: str) -> int:
        """The data plane's value, of `width` bits.

        Raises INVALID_ARGUMENT for a value without one, OUT_OF_RANGE for one too wide, RESOURCE_EXHAUSTED when
        all numbers of that width are taken.
        """
        sdn = self._string(data, what) if self.sdn_width is None else to_int(data, self.sdn_width, what)
        value = self.mapping.to_device.get(sdn)
        if value is None:
            value = self._new(sdn, width, what)
        if value >> width:
            raise P4RuntimeError(
                Code.OUT_OF_RANGE,
                f"{what} value {sdn!r} is {value} in the data plane, which does not fit in its {width} bits "
                f"(translation {self.mapping.uri!r})",
            )
        return value

    def encode(self, value: int) -> bytes:
        """The controller's value. One that the mapping does not have reads as 0 (P4Runtime's "unknown port"), or
        as a string made of its number."""
        sdn = self.mapping.to_sdn.get(value)
        if self.sdn_width is not None:
            return to_bytes(sdn if isinstance(sdn, int) else 0 if self.mapping.is_configured else value)
        if sdn is None:
            sdn = str(value) if str(value) not in self.mapping.to_device else f"#{value}"
            if not self.mapping.is_configured:
                self.mapping.bind(sdn, value)
        return str(sdn).encode()

    def _string(self, data: bytes, what: str) -> str:
        if not data:
            raise P4RuntimeError(
                Code.OUT_OF_RANGE, f"{what} is an empty string; a translated string has a name"
            )
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise invalid(f"{what} is a translated string, but 0x{data.hex()} is not UTF-8") from None

    def _new(self, sdn: SdnValue, width: int, what: str) -> int:
        mapping = self.mapping
        if mapping.is_configured:
            raise invalid(
                f"{what} value {sdn!r} is not in translation {mapping.uri!r} "
                f"(valid: {listing([repr(known) for known in mapping.to_device])})"
            )
        if isinstance(sdn, int):
            return sdn
        free = next(number for number in itertools.count(1) if number not in mapping.to_sdn)
        if free >> width:
            raise P4RuntimeError(
                Code.RESOURCE_EXHAUSTED,
                f"{what}: no number of {width} bits is left for {sdn!r} in translation {mapping.uri!r}",
            )
        mapping.bind(sdn, free)
        return free


class Translations:
    """All mappings of one switch, for as long as it runs: state kept across a change of the pipeline means the
    same before and after."""

    def __init__(self, configured: Mappings | None = None) -> None:
        self._configured = configured or {}
        self._mappings: dict[tuple[str, bool], _Mapping] = {}

    def of(self, uri: str, sdn_width: int | None) -> Translation:
        """The translation of a type. Raises INVALID_ARGUMENT where it is of numbers, but configured by others."""
        is_string = sdn_width is None
        if (uri, is_string) not in self._mappings:
            values = self._configured.get(uri)
            if values is not None and not is_string:
                values = {_number(uri, sdn): value for sdn, value in values.items()}
            self._mappings[uri, is_string] = _Mapping(uri, values)
        return Translation(self._mappings[uri, is_string], sdn_width)


def _number(uri: str, sdn: SdnValue) -> int:
    try:
        return sdn if isinstance(sdn, int) else int(sdn, 0)
    except ValueError:
        raise invalid(f"translation {uri!r} is of numbers here, but has {sdn!r} configured") from None
