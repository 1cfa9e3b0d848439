# SPDX-License-Identifier: Apache-2.0
"""`--host`: which of a lab's controllers a verb means."""

from pathlib import Path
from typing import Annotated

import pytest
import typer
from hvchannel_lab.host_option import CONTROL, HostOption
from hvchannel_lab.targets import FeedEngine
from hvchannel_lab.topology import plan
from typer.testing import CliRunner

PERHAPS = Annotated[Path | None, typer.Option("--socket", envvar=CONTROL)]
SOCKET = Annotated[Path, typer.Option("--socket", envvar=CONTROL)]


def lab_of(state: Path, hosts: int) -> HostOption:
    plan("lab", state, 1, hosts=hosts, feed_engine=FeedEngine.NATS).save()
    option = HostOption()
    option.lab_is(state)
    return option


def invoke(option: HostOption, *words: str, **environment: str | None) -> tuple[int, str]:
    """`show WORDS`, a verb that prints the socket it was given, beside one that takes none and one that may."""
    app = typer.Typer()

    @app.command()
    def show(what: str, socket: SOCKET, loud: bool = False) -> None:
        typer.echo(f"{what} at {socket}{'!' if loud else ''}")

    @app.command()
    def other(socket: Path) -> None:
        typer.echo(socket)

    @app.command()
    def perhaps(socket: PERHAPS = None) -> None:
        typer.echo(socket)

    option.add_to(app)
    done = CliRunner().invoke(app, words, env={CONTROL: None, **environment})
    return done.exit_code, done.output.strip()


def test_the_only_hypervisor_need_not_be_named(tmp_path: Path) -> None:
    option = lab_of(tmp_path, 1)
    socket = tmp_path / "host/control.sock"
    assert invoke(option, "show", "it") == (0, f"it at {socket}")
    assert invoke(option, "show", "it", "--host", "host", "--loud") == (0, f"it at {socket}!")


def test_one_of_several_must_be(tmp_path: Path) -> None:
    option = lab_of(tmp_path, 2)
    assert invoke(option, "show", "it", "--host", "hv2") == (0, f"it at {tmp_path}/hv2/control.sock")
    assert invoke(option, "show", "it") == (2, "hvchannel: which hypervisor? give --host (valid: hv1, hv2)")
    unknown = "hvchannel: no hypervisor 'host' in the lab (valid: hv1, hv2)"
    assert invoke(option, "show", "it", "--host", "host") == (2, unknown)


@pytest.mark.parametrize("hosts", [0, 1, 2])
def test_a_socket_that_is_named_is_taken_unless_a_hypervisor_is(tmp_path: Path, hosts: int) -> None:
    option = lab_of(tmp_path, hosts) if hosts else HostOption()
    assert invoke(option, "show", "it", "--socket", "/x") == (0, "it at /x")
    assert invoke(option, "show", "it", HVCHANNEL_CONTROL="/y") == (0, "it at /y")
    if hosts == 2:
        chosen = invoke(option, "show", "it", "--host", "hv1", HVCHANNEL_CONTROL="/y")
        assert chosen == (0, f"it at {tmp_path}/hv1/control.sock")


def test_without_a_lab_it_says_what_would_do() -> None:
    assert invoke(HostOption(), "show", "it") == (
        2,
        "hvchannel: which controller? give --socket, or start a lab",
    )


def test_verbs_without_a_controller_stay_as_they_are(tmp_path: Path) -> None:
    assert invoke(lab_of(tmp_path, 2), "other", "/z") == (0, "/z")
    assert invoke(lab_of(tmp_path, 2), "other", "/z", "--host", "hv1")[0] == 2


def test_nor_is_a_socket_asked_for_where_a_verb_does_without(tmp_path: Path) -> None:
    for option in (HostOption(), lab_of(tmp_path, 2)):
        assert invoke(option, "perhaps") == (0, "")
        assert invoke(option, "perhaps", "--socket", "/x") == (0, "/x")
