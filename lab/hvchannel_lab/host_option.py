# SPDX-License-Identifier: Apache-2.0
"""`--host`: of the verbs that speak to a controller (attach, list and the like), which of the lab's they mean."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

CONTROL = "HVCHANNEL_CONTROL"
_TOPOLOGY_FILE = "topology.json"  # as in topology.py, which takes its time to load

Host = Annotated[
    str | None,
    typer.Option(
        "--host", help="In a lab of several hypervisors: which one's, such as hv1.", show_default=False
    ),
]


class HostOption:
    """Knows the controllers' sockets once the lab is found, and adds the option to commands before that."""

    def __init__(self) -> None:
        self._sockets: dict[str, Path] = {}

    def lab_is(self, state: Path) -> None:
        """The verbs are for the lab in this directory. Raises OSError, ValueError for a damaged one."""
        hypervisors = json.loads((state / _TOPOLOGY_FILE).read_bytes())["hypervisors"]
        self._sockets = {one["name"]: state / one["name"] / "control.sock" for one in hypervisors}

    @property
    def is_one(self) -> bool:
        """Whether the lab has one hypervisor, which need not be named."""
        return len(self._sockets) == 1

    @property
    def sockets(self) -> list[Path]:
        """Of all controllers."""
        return list(self._sockets.values())

    def socket(self, host: str | None) -> Path:
        """Of the hypervisor's controller; of the only one's when none is named. Raises ValueError with the valid
        names."""
        valid = ", ".join(self._sockets)
        if not self._sockets:
            raise ValueError("which controller? give --socket, or start a lab")
        if host is None:
            if not self.is_one:
                raise ValueError(f"which hypervisor? give --host (valid: {valid})")
            (host,) = self._sockets
        if host not in self._sockets:
            raise ValueError(f"no hypervisor {host!r} in the lab (valid: {valid})")
        return self._sockets[host]

    def add_to(self, app: typer.Typer) -> None:
        """To every command of `app` that must be given a controller's socket; from here on it need not. One that does
        without a socket stays as it is."""
        for command in app.registered_commands:
            if command.callback is not None:
                command.callback = self._with_host(command.callback)

    def _with_host(self, command: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(command, eval_str=True)
        found = [
            name
            for name, p in signature.parameters.items()
            if _is_socket(p.annotation) and p.default is inspect.Parameter.empty
        ]
        if not found or "host" in signature.parameters:
            return command
        (name,) = found

        @functools.wraps(command)
        def chosen(*args: Any, host: str | None = None, **given: Any) -> Any:
            if host is not None or given.get(name) is None:
                try:
                    given[name] = self.socket(host)
                except ValueError as error:
                    typer.echo(f"hvchannel: {error}", err=True)
                    raise typer.Exit(2) from None
            return command(*args, **given)

        parameters = [
            p.replace(kind=p.KEYWORD_ONLY, default=None if p.name == name else p.default)
            for p in signature.parameters.values()
        ]
        parameters.append(
            inspect.Parameter("host", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Host)
        )
        chosen.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        chosen.__annotations__ = {p.name: p.annotation for p in parameters}
        return chosen


def _is_socket(annotation: Any) -> bool:
    return any(getattr(said, "envvar", None) == CONTROL for said in get_args(annotation)[1:])
