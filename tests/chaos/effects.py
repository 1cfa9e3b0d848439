# SPDX-License-Identifier: Apache-2.0
"""What the documents do in the VMs: one hook run and one report of it per revision, and nothing that goes back."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress

from hvchannel_daemons.feed import Feed
from hvchannel_daemons.guestd.client import GuestClient, GuestClientError

from tests.chaos.world import World, hook_log

HOOKS_AT_ONCE = 4  # guestd's default: so many may have run and not be known to have, when it is killed
_REPORTS = 1000


class Effects:
    """One per VM."""

    def __init__(self, world: World, vm: str, vif: str) -> None:
        self._world = world
        self._vm, self._vif = vm, vif
        self._lock = threading.Lock()
        self._wrong: list[str] = []
        self._over = threading.Event()
        self._client: GuestClient | None = None
        self._read = 0  # bytes of the hooks' log
        self._runs: dict[tuple[str, str, str], str] = {}  # (key, revision, event) -> guestd's pid
        self._report = 0
        self._reported: set[tuple[str, int]] = set()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._client is not None:
            self._client.close()
        self._thread.join(10)

    def _watch(self) -> None:
        last: dict[str, int] = {}
        while not self._over.is_set():
            socket = self._world.topology.guestd_socket(self._vm)
            with suppress(GuestClientError, ValueError), GuestClient(socket) as client:  # ValueError: closed
                self._client = client
                for change in client.watch():
                    self._take(last, change.key, change.revision, deleted=change.kind == "deleted")
            self._over.wait(0.2)

    def _take(self, last: dict[str, int], key: str, revision: int, *, deleted: bool) -> None:
        before = last.get(key, 0)
        if not key or self._vm in self._world.forgot:
            last.clear()
            return
        if revision < before and not deleted:
            with self._lock:
                self._wrong.append(f"{self._vm}: {key} went back from revision {before} to {revision}")
        last[key] = max(revision, before)

    def wrong(self) -> list[str]:
        """What was seen since the last call that should not have been, of hooks and of the watcher."""
        with self._lock:
            found, self._wrong = self._wrong, []
        lines = hook_log(self._world.topology, self._vm).read_bytes()[self._read :]
        whole = lines[: lines.rfind(b"\n") + 1]
        self._read += len(whole)
        again: Counter[str] = Counter()
        forgot = self._vm in self._world.forgot
        for line in whole.decode().splitlines():
            pid, *what = line.split()
            effect = (what[0], what[1], what[2])
            before = self._runs.get(effect)
            if before == pid and not forgot:
                found.append(f"{self._vm}: the hook of {' '.join(effect)} ran twice in one guestd")
            elif before is not None:
                again[pid] += 1
            self._runs[effect] = pid
        if not forgot:
            found += [
                f"{self._vm}: {count} hooks ran again in one guestd (at most {HOOKS_AT_ONCE} had been cut)"
                for count in again.values()
                if count > HOOKS_AT_ONCE
            ]
        return found

    async def reports(self, feed: Feed) -> list[str]:
        """The hooks' reports: one per revision of a key."""
        found = []
        while reports := await feed.reports(self._vif, after=self._report, limit=_REPORTS):
            for stored in reports:
                self._report = stored.number
                report = stored.report
                if report.type != "hook":
                    continue
                about = (report.about_key, report.about_revision)
                if about in self._reported and self._vm not in self._world.forgot:
                    found.append(f"{self._vm}: two reports of the hooks of {about[0]} revision {about[1]}")
                self._reported.add(about)
        return found
