# SPDX-License-Identifier: Apache-2.0
"""Time for the vSwitch to take a pipeline, which it may have to compile: finsy has one deadline of 10 s for whatever it
asks, and no setting."""

from typing import Any

import finsy as fy


def give_time(switch: fy.Switch, seconds: float) -> None:
    """To SetForwardingPipelineConfig, of each connection that the switch makes from here on."""

    def connected(_: fy.Switch) -> None:
        client = switch._p4client
        assert client is not None
        stub: Any = client._stub
        asked = stub.SetForwardingPipelineConfig

        def ask(message: Any, timeout: float) -> Any:
            return asked(message, timeout=max(timeout, seconds))

        stub.SetForwardingPipelineConfig = ask

    switch.ee.add_listener(fy.SwitchEvent.CHANNEL_UP, connected)
