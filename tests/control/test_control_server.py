# SPDX-License-Identifier: Apache-2.0
"""The control API and its client, over a real unix socket; no vSwitch answers here."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hvchannel_control import commands
from hvchannel_control.api import control_pb2
from hvchannel_control.attachments import FixedAttachment, HostAttachments
from hvchannel_control.client import ControlClient, ControlError
from hvchannel_control.compiled import CompiledProgram
from hvchannel_control.config import GuestConfig, HostConfig
from hvchannel_control.controller import Controller
from hvchannel_control.profiles.guest import GuestProfile
from hvchannel_control.profiles.host import HostProfile
from hvchannel_control.server import SocketInUseError, serving
from hvchannel_control.store import Store
from typer.testing import CliRunner, Result

MAC1, MAC2 = "02:00:00:00:00:01", "02:00:00:00:00:02"
NO_PROGRAM = CompiledProgram(Path("none.p4info.txtpb"), Path("none.json"))


def host_controller(folder: Path, settings: dict[str, Any] | None = None) -> tuple[Controller, Store]:
    config = HostConfig.model_validate(settings or {})
    store = Store(folder / "control.db")
    attachments = HostAttachments(config, store)
    channel = config.channel
    profile = HostProfile(config)
    return Controller(profile, attachments, config.switch, NO_PROGRAM, cip=channel.cip), store


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    """The socket of a host's controller."""
    controller, store = host_controller(tmp_path)
    async with serving(controller, tmp_path / "control.sock"):
        yield tmp_path / "control.sock"
    store.close()


async def run(path: Path, *args: str) -> Result:
    """One command, in a thread: it is synchronous, and its server runs here."""
    environment = {"HVCHANNEL_CONTROL": str(path), "COLUMNS": "200"}
    return await asyncio.to_thread(CliRunner().invoke, commands.app, args, env=environment)


async def attach(path: Path, *args: str) -> Result:
    return await run(path, "attach", *args, "--wait", "0")


async def test_only_its_owner_may_open_the_socket(path: Path) -> None:
    assert (await asyncio.to_thread(path.stat)).st_mode & 0o777 == 0o600


async def test_the_socket_is_gone_afterwards(tmp_path: Path) -> None:
    controller, store = host_controller(tmp_path)
    async with serving(controller, tmp_path / "x.sock"):
        pass
    assert not (tmp_path / "x.sock").exists()
    store.close()


async def test_a_dead_controllers_socket_is_replaced_and_a_live_ones_is_not(tmp_path: Path) -> None:
    controller, store = host_controller(tmp_path)
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with serving(controller, path):
        with pytest.raises(SocketInUseError, match=r"x\.sock: another controller serves it"):
            async with serving(controller, path):
                pass
        assert (await run(path, "list", "--json")).stdout == "[]\n"
    path.write_text("not a socket")
    with pytest.raises(SocketInUseError, match="exists and is not a socket"):
        async with serving(controller, path):
            pass
    with pytest.raises(SocketInUseError, match="cannot be served"):
        async with serving(controller, tmp_path / "no" / "x.sock"):
            pass
    store.close()


async def test_attach_list_detach(path: Path) -> None:
    done = await attach(path, "vm1", "--mac", MAC1, "--port", "2")
    assert done.stdout == "VIF vm1 is attached on port 2: LIP 169.254.1.10, VNI 5001, VLAN 4094\n"
    done = await attach(path, "vm2", "--mac", MAC2, "--port", "3", "--vlan", "7", "--json")
    vm2 = {
        "vif_id": "vm2",
        "mac": MAC2,
        "port": 3,
        "vlan": 7,
        "vni": 5001,
        "lip": "169.254.1.11",
        "cip": "169.254.1.2",
        "state": "PENDING",
        "link": {"state": "STATE_UNSPECIFIED", "interface": ""},
    }
    assert json.loads(done.stdout) == vm2
    listed = json.loads((await run(path, "list", "--json")).stdout)
    assert [vif["vif_id"] for vif in listed] == ["vm1", "vm2"]
    table = (await run(path, "list")).stdout
    assert all(text in table for text in ("vm1", MAC1, "5001", "4094", "169.254.1.10", "pending"))
    assert (await run(path, "detach", "vm1")).exit_code == 0
    assert json.loads((await run(path, "list", "--json")).stdout) == [vm2]


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (("vm2", "--mac", MAC1, "--port", "3"), "ALREADY_EXISTS", f"MAC {MAC1} is already attached as"),
        (("vm2", "--mac", "x", "--port", "3"), "INVALID_ARGUMENT", "mac: 'x' is not a MAC address"),
    ],
)  # fmt: skip
async def test_a_refusal_is_one_line_and_exit_1(
    path: Path, args: tuple[str, ...], code: str, text: str
) -> None:
    await attach(path, "vm1", "--mac", MAC1, "--port", "2")
    done = await attach(path, *args)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"hvchannel: {text}")
    assert done.stderr.count("\n") == 1
    with ControlClient(path) as client, pytest.raises(ControlError) as refusal:
        await asyncio.to_thread(client.attach, args[0], args[2], int(args[4]))
    assert refusal.value.code is grpc.StatusCode[code]


async def test_a_port_may_be_named_by_its_interface(tmp_path: Path) -> None:
    controller, store = host_controller(tmp_path, {"switch": {"interfaces": {"2": "hvc2", "7": "hvc7"}}})
    path = tmp_path / "x.sock"
    async with serving(controller, path):
        done = await attach(path, "vm1", "--mac", MAC1, "--interface", "hvc7")
        assert done.stdout.startswith("VIF vm1 is attached on port 7: ")
        done = await attach(path, "vm2", "--mac", MAC2, "--interface", "eth0")
        assert (done.exit_code, done.stderr) == (
            1,
            "hvchannel: interface 'eth0' is at no port (valid: hvc2, hvc7)\n",
        )
        done = await attach(path, "vm2", "--mac", MAC2, "--interface", "hvc2", "--port", "2")
        assert done.stderr == "hvchannel: port 2 and interface 'hvc2': give one of them\n"
    store.close()


async def test_an_interface_names_no_port_where_the_configuration_names_none(path: Path) -> None:
    done = await attach(path, "vm1", "--mac", MAC1, "--interface", "hvc2")
    assert "is at no port (valid: none, the configuration has no switch.interfaces)" in done.stderr


async def test_where_the_vnic_is_must_be_said(path: Path) -> None:
    done = await attach(path, "vm1", "--mac", MAC1)
    assert done.exit_code == 2
    assert "give --port or --interface" in done.stderr


async def test_detaching_what_is_not_attached(path: Path) -> None:
    done = await run(path, "detach", "vm9")
    assert (done.exit_code, done.stderr) == (1, "hvchannel: VIF 'vm9' is not attached\n")


async def test_no_controller_is_one_line(tmp_path: Path) -> None:
    done = await run(tmp_path / "none.sock", "list")
    assert (done.exit_code, done.stderr) == (1, f"hvchannel: no controller answers at {tmp_path}/none.sock\n")


async def test_usage_errors_exit_2(path: Path) -> None:
    assert (await run(path, "attach", "vm1")).exit_code == 2


async def test_attach_says_when_the_vswitch_does_not_hold_it_yet(path: Path) -> None:
    done = await run(path, "attach", "vm1", "--mac", MAC1, "--port", "2", "--wait", "0.2")
    assert done.exit_code == 0
    assert "VIF 'vm1' is attached, but the vSwitch does not hold it yet" in done.stderr


async def test_vswitch_tells_what_is_known(path: Path) -> None:
    await attach(path, "vm1", "--mac", MAC1, "--port", "2")
    done = await run(path, "vswitch", "--json")
    assert done.exit_code == 1, "not in sync"
    status = json.loads(done.stdout)
    assert (status["profile"], status["switch_connected"], status["in_sync"]) == ("host", False, False)
    assert (status["leases_used"], status["leases_total"]) == (1, 0xFEFE - 0x010A)
    assert f"1 of {0xFEFE - 0x010A}" in (await run(path, "vswitch")).stdout


async def test_watch_ends_when_the_controller_stops(tmp_path: Path) -> None:
    controller, store = host_controller(tmp_path)
    heard: list[str | None] = []
    loop, both = asyncio.get_running_loop(), asyncio.Event()

    def listen() -> None:
        with ControlClient(tmp_path / "x.sock") as client:
            for event in client.watch():
                heard.append(event.WhichOneof("event"))
                if event.synced:
                    client.attach("vm1", MAC1, 2)
                else:
                    loop.call_soon_threadsafe(both.set)

    async with serving(controller, tmp_path / "x.sock"):
        listener = asyncio.create_task(asyncio.to_thread(listen))
        async with asyncio.timeout(10):
            await both.wait()
    await listener
    assert heard == ["synced", "attached"]
    store.close()


async def test_the_guest_profile_lists_its_own_vif_and_attaches_none(tmp_path: Path) -> None:
    config = GuestConfig.model_validate({"vif": {"mac": MAC1, "vif_id": "mine"}})
    profile = GuestProfile(config)
    controller = Controller(
        profile,
        FixedAttachment(profile.own_vif()),
        config.switch,
        NO_PROGRAM,
        cip=config.channel.cip,
    )
    path = tmp_path / "x.sock"
    async with serving(controller, path):
        (vif,) = json.loads((await run(path, "list", "--json")).stdout)
        assert (vif["vif_id"], vif["mac"], vif["port"], vif["vni"], vif["lip"]) == ("mine", MAC1, 1, 0, "")
        assert vif["cip"] == "169.254.1.2"
        assert json.loads((await run(path, "vswitch", "--json")).stdout)["profile"] == "guest"
        refusals = [
            await attach(path, "vm2", "--mac", MAC2, "--port", "2"),
            await run(path, "detach", "mine"),
        ]
        assert all("the guest's own VIF 'mine' is fixed" in refusal.stderr for refusal in refusals)
        with ControlClient(path) as client, pytest.raises(ControlError) as refusal:
            await asyncio.to_thread(client.detach, "mine")
        assert refusal.value.code is grpc.StatusCode.FAILED_PRECONDITION


def test_the_api_loads_neither_finsy_nor_the_controller() -> None:
    code = "import sys, hvchannel_control.api; print([m for m in sys.modules if m in ('finsy', 'pydantic')])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
    assert control_pb2.Vif.REALISED == 2
