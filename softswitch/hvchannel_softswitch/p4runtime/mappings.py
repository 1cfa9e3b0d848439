# SPDX-License-Identifier: Apache-2.0
"""The operator's mappings of @p4runtime_translation, from a JSON file: {"URI": {"SDN value": data plane value}}.

Types that the controller sees as numbers take the SDN values as decimal or 0x... numbers.
"""

from __future__ import annotations

import json
from pathlib import Path

from hvchannel_softswitch.p4runtime.translations import Mappings, SdnValue


class MappingError(Exception):
    """The file is not one of mappings; the message says where."""


def load_mappings(path: Path) -> Mappings:
    """Raises MappingError, naming the file and the place in it."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MappingError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise MappingError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise MappingError(f'{path}: not an object (valid: {{"URI": {{"SDN value": data plane value}}}})')
    return {uri: _mapping(f"{path}: {uri!r}", values) for uri, values in document.items()}


def _mapping(where: str, values: object) -> dict[SdnValue, int]:
    if not isinstance(values, dict):
        raise MappingError(f'{where}: not an object (valid: {{"SDN value": data plane value}})')
    mapping: dict[SdnValue, int] = {}
    for text, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise MappingError(f"{where}: {text!r} has the data plane value {value!r} (valid: 0 or more)")
        if value in mapping.values():
            raise MappingError(f"{where}: the data plane value {value} is given twice")
        mapping[text] = value
    return mapping
