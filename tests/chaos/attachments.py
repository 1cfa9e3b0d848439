# SPDX-License-Identifier: Apache-2.0
"""Attachments that come and go all the time, of VMs that are not there, and what the controller promised of them."""

from __future__ import annotations

import random
import threading

from hvchannel_control.client import ControlClient, ControlError
from hvchannel_lab.topology import Topology

_EVERY = 0.5  # seconds
_FIRST_PORT = 100
_GHOSTS = 3


class Attacher:
    """Attaches and detaches. `held`: by VIF whether it is attached; None where the controller did not say."""

    def __init__(self, topology: Topology, luck: random.Random) -> None:
        self.held: dict[str, bool | None] = {f"ghost{n}": False for n in range(_GHOSTS)}
        self._topology = topology
        self._luck = luck
        self._over = threading.Event()
        self._may = threading.Event()
        self._lock = threading.Lock()
        self._may.set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._may.set()
        self._thread.join()

    def pause(self) -> None:
        self._may.clear()
        with self._lock:  # the change that was under way is done
            pass

    def resume(self) -> None:
        self._may.set()

    def _run(self) -> None:
        while not self._over.wait(_EVERY):
            self._may.wait()
            with self._lock:
                if self._may.is_set() and not self._over.is_set():
                    self._change()

    def _change(self) -> None:
        number = self._luck.randrange(_GHOSTS)
        vif, known = f"ghost{number}", self.held[f"ghost{number}"]
        attach = not known
        self.held[vif] = None
        try:
            with ControlClient(self._topology.control_socket("host"), timeout=5) as control:
                if known is None:
                    attach = not any(each.vif_id == vif for each in control.vifs())
                if attach:
                    control.attach(vif, f"02:99:00:00:00:{number:02x}", _FIRST_PORT + number)
                else:
                    control.detach(vif)
        except ControlError:
            return  # refused, or done and not told
        self.held[vif] = attach
