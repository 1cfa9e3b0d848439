# SPDX-License-Identifier: Apache-2.0
"""libvirt by way of its own command, virsh: which domains run, and when that changes."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator

_EVENT = re.compile(rb"event '(lifecycle|device-added|device-removed|metadata-change)' for domain ")
_DOCUMENTS = re.compile(r"^(?=<domain )", re.MULTILINE)
_ENVIRONMENT = {**os.environ, "LC_ALL": "C"}  # what is parsed must not be translated


class VirshError(Exception):
    """libvirt does not answer; the text is one line."""


class Virsh:
    """Of one libvirt, which `uri` names. Methods raise VirshError."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    async def active(self) -> set[str]:
        """UUIDs of the domains that run, or are about to."""
        return set((await self._run("list --uuid")).split())

    async def xml(self, uuids: set[str]) -> list[str]:
        """What these domains are now; those that run no more are left out."""
        if not uuids:
            return []
        # one connection for all; virsh goes on after one that failed
        told = await self._run("; ".join(f"dumpxml --domain {uuid}" for uuid in sorted(uuids)), check=False)
        return [text for text in _DOCUMENTS.split(told) if text.startswith("<domain ")]

    async def changes(self) -> AsyncIterator[None]:
        """One item when domains or their interfaces changed, as long as libvirt is there."""
        process = await self._start("event --all --loop")
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                if _EVENT.search(line):
                    yield None
            _, told = await process.communicate()
            raise VirshError(_last_line(told) or "virsh ended")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _run(self, command: str, *, check: bool = True) -> str:
        process = await self._start(command)
        out, told = await process.communicate()
        if process.returncode and (check or not out):
            raise VirshError(_last_line(told) or f"virsh {command}: exit code {process.returncode}")
        return out.decode()

    async def _start(self, command: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        try:
            return await asyncio.create_subprocess_exec(
                *("virsh", "--quiet", "--connect", self._uri, command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                env=_ENVIRONMENT,
            )
        except OSError as error:
            raise VirshError(f"virsh: {error.strerror} (apt-get install libvirt-clients)") from error


def _last_line(told: bytes) -> str:
    lines = told.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
