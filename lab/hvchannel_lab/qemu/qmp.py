# SPDX-License-Identifier: Apache-2.0
"""QEMU's monitor, as much of it as a lab asks for (docs/interop/qmp-spec.rst): one command, one answer."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

_AGAIN = 0.05  # seconds
_WITHIN = 20.0  # seconds for an answer, or an event that a command brings about


class QmpError(OSError):
    """QEMU refused a command, or is gone."""


async def execute(
    socket: Path, command: str, arguments: dict[str, Any] | None = None, event: str = ""
) -> Any:
    """What it returns, after `event` if one is given and the command was taken. Raises QmpError."""
    try:
        async with asyncio.timeout(_WITHIN):
            reader, writer = await _greeted(socket)
            try:
                await _answer(reader, writer, "qmp_capabilities", {})
                return await _answer(reader, writer, command, arguments or {}, event)
            finally:
                writer.close()
    except TimeoutError:
        raise QmpError(f"{command}: no {event or 'answer'} within {_WITHIN:g} s") from None
    except (OSError, ValueError) as error:
        raise error if isinstance(error, QmpError) else QmpError(f"{command}: {error}") from None


async def _greeted(socket: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which QEMU has said its greeting: it does so to one at a time, and drops who comes too early."""
    while True:
        reader, writer = await asyncio.open_unix_connection(socket)
        with suppress(ConnectionError):
            if await reader.readline():
                return reader, writer
        writer.close()
        await asyncio.sleep(_AGAIN)


async def _answer(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    command: str,
    arguments: dict[str, Any],
    event: str = "",
) -> Any:
    writer.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
    answered, happened, returned = False, not event, None
    while not (answered and happened):
        line = await reader.readline()
        if not line:
            raise QmpError(f"{command}: QEMU is gone")
        said = json.loads(line)
        if "error" in said:
            raise QmpError(f"{command}: {said['error']['desc']}")
        if "return" in said:
            answered, returned = True, said["return"]
        happened = happened or said.get("event") == event
    return returned
