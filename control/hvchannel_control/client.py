# SPDX-License-Identifier: Apache-2.0
"""A synchronous client of the control API."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc

from hvchannel_control.api import control_pb2, control_pb2_grpc

_TIMEOUT_S = 10.0

_Answer = TypeVar("_Answer")


class ControlError(Exception):
    """The controller refused, or did not answer; the text is one line."""

    def __init__(self, text: str, code: grpc.StatusCode) -> None:
        super().__init__(text)
        self.code = code


class ControlClient:
    """One connection to the controller that serves `socket`; a context manager.

    Every method raises ControlError, when the controller does not answer within `timeout` seconds too.
    """

    def __init__(self, socket: Path, timeout: float = _TIMEOUT_S) -> None:
        self._socket = socket
        self._timeout = timeout
        self._channel = grpc.insecure_channel(f"unix:{socket.absolute()}")
        self._stub = control_pb2_grpc.ControlStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def attach(
        self, vif_id: str, mac: str, port: int = 0, vlan: int = 0, vni: int = 0, *, interface: str = ""
    ) -> control_pb2.Vif:
        """Attaches a VIF; durable when this returns. `interface`: in place of `port`. `vlan` and `vni` 0: the
        controller's default."""
        request = control_pb2.AttachRequest(
            vif_id=vif_id, mac=mac, port=port, vlan=vlan, vni=vni, interface=interface
        )
        return self._call(self._stub.Attach, request)

    def detach(self, vif_id: str) -> None:
        self._call(self._stub.Detach, control_pb2.DetachRequest(vif_id=vif_id))

    def vifs(self) -> list[control_pb2.Vif]:
        """All attached VIFs, by VIF id."""
        answer: control_pb2.ListResponse = self._call(self._stub.List, control_pb2.ListRequest())
        return list(answer.vifs)

    def status(self) -> control_pb2.Status:
        answer: control_pb2.Status = self._call(self._stub.GetStatus, control_pb2.GetStatusRequest())
        return answer

    def watch(self, timeout: float | None = None) -> Iterator[control_pb2.Event]:
        """What is attached, then `synced`, then every change; after `timeout` seconds DEADLINE_EXCEEDED."""
        try:
            yield from self._stub.Watch(control_pb2.WatchRequest(), timeout=timeout)
        except grpc.RpcError as error:
            raise self._error(error) from error

    def wait_realised(self, vif_id: str, timeout: float) -> control_pb2.Vif:
        """The VIF, when the vSwitch holds it, or as it is after `timeout` seconds."""
        last = control_pb2.Vif(vif_id=vif_id)
        try:
            for event in self.watch(timeout):
                if event.attached.vif_id == vif_id:
                    last = event.attached
                    if last.state == control_pb2.Vif.REALISED:
                        break
        except ControlError as error:
            if error.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
        return last

    def _call(self, method: Callable[..., _Answer], request: Any) -> _Answer:
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise self._error(error) from error

    def _error(self, error: grpc.RpcError) -> ControlError:
        assert isinstance(error, grpc.Call)
        code = error.code()
        if code is grpc.StatusCode.UNAVAILABLE:
            return ControlError(f"no controller answers at {self._socket}", code)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ControlError(f"the controller at {self._socket} did not answer in time", code)
        return ControlError(error.details() or code.name, code)
