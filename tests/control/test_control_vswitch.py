# SPDX-License-Identifier: Apache-2.0
"""A controller and a real target: the tables become what they should be, whatever happens to either."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol

import finsy as fy
import grpc
import pytest
from finsy.p4entity import decode_entity
from finsy.proto import U128, p4r, p4r_grpc
from hvchannel_control.api import control_pb2
from hvchannel_control.attachments import FixedAttachment, HostAttachments
from hvchannel_control.compiled import CompiledProgram, find_program
from hvchannel_control.config import GuestConfig, HostConfig
from hvchannel_control.controller import Controller
from hvchannel_control.entries import Entry, MeterConfig, entry
from hvchannel_control.p4entries import decode, encode_all, wildcards
from hvchannel_control.profiles.guest import GuestProfile
from hvchannel_control.profiles.host import HostProfile
from hvchannel_control.reconcile import Operation, Update
from hvchannel_control.store import Store
from hvchannel_control.vif import Vif
from hvchannel_control.vswitch import audit_delay
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

MAC1, MAC2 = "02:00:00:00:00:01", "02:00:00:00:00:02"
DEADLINE_S = 20.0
ELECTION_ID = 10
SLOW_AUDIT = {"audit_interval_s": 3600}
FAST_AUDIT = {"audit_interval_s": 0.1}


class Switch(Protocol):
    """As conftest makes them."""

    address: str

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def hang(self) -> None: ...


def host_config(switch: Switch, **settings: object) -> HostConfig:
    return HostConfig.model_validate({"switch": {"address": switch.address, **settings}})


@asynccontextmanager
async def host_controller(folder: Path, config: HostConfig) -> AsyncIterator[Controller]:
    """A running one, with its state in `folder`."""
    store = Store(folder / "control.db")
    attachments = HostAttachments(config, store)
    profile = HostProfile(config)
    program, channel = find_program(profile.program), config.channel
    controller = Controller(profile, attachments, config.switch, program, cip=channel.cip)
    async with running(controller):
        yield controller
    store.close()


@asynccontextmanager
async def running(controller: Controller) -> AsyncIterator[None]:
    task = asyncio.create_task(controller.vswitch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is awaited happens in another process
            await asyncio.sleep(0.01)


async def until_synced(controller: Controller) -> None:
    await until(lambda: controller.vswitch.state.in_sync)


async def until_realised(controller: Controller, *vif_ids: str) -> None:
    def realised() -> set[str]:
        return {vif.vif_id for vif in controller.vifs() if vif.state == control_pb2.Vif.REALISED}

    await until(lambda: controller.vswitch.state.in_sync and realised() == set(vif_ids))


class OtherHand:
    """Another P4Runtime client, that writes with the election id it is given."""

    def __init__(
        self, address: str, program: str | CompiledProgram = "host_vswitch", election_id: int = ELECTION_ID
    ) -> None:
        found = find_program(program) if isinstance(program, str) else program
        self.schema = fy.P4Schema(found.p4info, found.device_config)
        self._election_id = U128.encode(election_id)
        self._channel = grpc.aio.insecure_channel(address)
        self._stub = p4r_grpc.P4RuntimeStub(self._channel)

    async def read(self) -> set[Entry]:
        request = p4r.ReadRequest(
            device_id=1, entities=[request.encode(self.schema) for request in wildcards(self.schema)]
        )
        return {
            entry
            async for reply in self._stub.Read(request)
            for entity in reply.entities
            if (entry := decode(decode_entity(entity, self.schema))) is not None
        }

    async def write(self, *updates: Update) -> None:
        encoded = [update.encode_update(self.schema) for update in encode_all(updates)]
        await self._stub.Write(p4r.WriteRequest(device_id=1, election_id=self._election_id, updates=encoded))

    @asynccontextmanager
    async def as_primary(self) -> AsyncIterator[None]:
        """Until it leaves, nobody with a lower election id may write."""
        stream = self._stub.StreamChannel()
        arbitration = p4r.MasterArbitrationUpdate(device_id=1, election_id=self._election_id)
        await stream.write(p4r.StreamMessageRequest(arbitration=arbitration))
        answer = await stream.read()
        assert isinstance(answer, p4r.StreamMessageResponse)
        assert answer.arbitration.status.code == 0
        yield
        stream.cancel()

    async def push(self) -> None:
        await self._stub.SetForwardingPipelineConfig(
            p4r.SetForwardingPipelineConfigRequest(
                device_id=1,
                election_id=self._election_id,
                action=p4r.SetForwardingPipelineConfigRequest.VERIFY_AND_COMMIT,
                config=self.schema.get_pipeline_config(),
            )
        )

    async def close(self) -> None:
        await self._channel.close()


def wanted(config: HostConfig, controller: Controller) -> set[Entry]:
    """What the switch should hold, from what the API says is attached."""
    profile = HostProfile(config)
    vifs: Iterable[control_pb2.Vif] = controller.vifs()
    entries = profile.fixed_entries()
    for vif in vifs:
        entries += profile.vif_entries(
            Vif(vif.vif_id, vif.mac, vif.port, vif.vlan, IPv4Address(vif.lip), vif.vni)
        )
    return set(entries)


async def test_the_tables_follow_what_is_attached(tmp_path: Path, target: Switch) -> None:
    config = host_config(target, **SLOW_AUDIT)
    spy = OtherHand(target.address)
    async with host_controller(tmp_path, config) as controller:
        await until_synced(controller)
        assert await spy.read() == wanted(config, controller)
        vif = controller.attach("vm1", MAC1, 2, 0)
        assert vif.state == control_pb2.Vif.PENDING
        controller.attach("vm2", MAC2, 3, 7)
        await until_realised(controller, "vm1", "vm2")
        assert await spy.read() == wanted(config, controller)
        assert controller.vswitch.state.writes == 7 + 2 * 8
        controller.detach("vm1")
        await until(lambda: controller.vswitch.state.writes == 7 + 3 * 8)
        await until_realised(controller, "vm2")
        assert await spy.read() == wanted(config, controller)
    await spy.close()


async def test_a_killed_switch_gets_its_tables_back(tmp_path: Path, target: Switch) -> None:
    config = host_config(target, **SLOW_AUDIT)
    async with host_controller(tmp_path, config) as controller:
        controller.attach("vm1", MAC1, 2, 0)
        await until_realised(controller, "vm1")
        events = controller.watch()
        assert (await anext(events)).attached.state == control_pb2.Vif.REALISED
        assert (await anext(events)).synced
        target.kill()
        await until(lambda: not controller.vswitch.state.connected)
        assert controller.vswitch.state.last_error
        target.start()
        states = [(await anext(events)).attached.state for _ in range(2)]
        assert states == [control_pb2.Vif.PENDING, control_pb2.Vif.REALISED]
        await until_synced(controller)
        assert controller.vswitch.state.last_error == ""
        spy = OtherHand(target.address)
        assert await spy.read() == wanted(config, controller)
        await spy.close()


async def test_a_switch_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, new_switch: Callable[[], Switch]
) -> None:
    switch = new_switch()
    async with host_controller(tmp_path, host_config(switch)) as controller:
        controller.attach("vm1", MAC1, 2, 0)
        await until(lambda: "cannot be reached" in controller.vswitch.state.last_error)
        assert not controller.vswitch.state.connected
        switch.start()
        await until_realised(controller, "vm1")


async def test_a_restarted_controller_keeps_leases_and_writes_nothing(tmp_path: Path, target: Switch) -> None:
    config = host_config(target)
    async with host_controller(tmp_path, config) as controller:
        controller.attach("vm1", MAC1, 2, 0)
        controller.attach("vm2", MAC2, 3, 0)
        controller.detach("vm1")
        await until_realised(controller, "vm2")
    async with host_controller(tmp_path, config) as controller:
        await until_realised(controller, "vm2")
        assert controller.vswitch.state.writes == 0
        assert [vif.lip for vif in controller.vifs()] == ["169.254.1.11"]


def drift(config: HostConfig) -> list[Update]:
    """One entry gone, one changed, one of nobody's, one with another policer, one with a policer that has none."""
    attachment, guard, *_, tag, _ = HostProfile(config).vif_entries(
        Vif("vm1", MAC1, 2, 4094, IPv4Address("169.254.1.10"), config.channel.vni)
    )
    of_hypervisor = HostProfile(config).fixed_entries()[0]
    slow = MeterConfig.policer(1000, 2000)
    return [
        Update(Operation.DELETE, guard),
        Update(Operation.MODIFY, Entry(tag.table, tag.match, "leave_untagged")),
        Update(Operation.INSERT, entry("member", {"port": 9, "vni": 5001}, "member_guest")),
        Update(Operation.MODIFY, replace(attachment, meter=slow)),
        Update(Operation.MODIFY, replace(of_hypervisor, meter=slow)),
    ]


async def test_an_audit_repairs_what_another_hand_changed(tmp_path: Path, target: Switch) -> None:
    config = host_config(target, **FAST_AUDIT)
    hand = OtherHand(target.address)
    async with host_controller(tmp_path, config) as controller:
        controller.attach("vm1", MAC1, 2, 0)
        await until_realised(controller, "vm1")
        before = controller.vswitch.state.writes
        await hand.write(*drift(config))
        await until(lambda: controller.vswitch.state.writes >= before + 5)
        await until_realised(controller, "vm1")
        assert await hand.read() == wanted(config, controller)
        assert controller.vswitch.state.writes == before + 5
    await hand.close()


async def test_another_primary_is_reported_and_what_it_did_undone_when_it_leaves(
    tmp_path: Path, target: Switch
) -> None:
    config = host_config(target, **SLOW_AUDIT)
    other = OtherHand(target.address, election_id=99)
    async with host_controller(tmp_path, config) as controller:
        controller.attach("vm1", MAC1, 2, 0)
        await until_realised(controller, "vm1")
        async with other.as_primary():
            await until(lambda: "another controller is primary" in controller.vswitch.state.last_error)
            assert not controller.vswitch.state.in_sync
            await other.write(*drift(config))
        await until_realised(controller, "vm1")
        assert await other.read() == wanted(config, controller)
    await other.close()


async def test_another_program_in_the_switch_is_replaced(tmp_path: Path, target: Switch) -> None:
    config = host_config(target, **SLOW_AUDIT)
    other = OtherHand(target.address, program="guest_vswitch", election_id=99)
    async with host_controller(tmp_path, config) as controller:
        await until_synced(controller)
        async with other.as_primary():
            await until(lambda: not controller.vswitch.state.in_sync)
            await other.push()
        await until_synced(controller)
        spy = OtherHand(target.address)
        assert await spy.read() == wanted(config, controller)
        await spy.close()
    await other.close()


async def test_a_spoofed_frame_becomes_a_digest_and_a_count(
    tmp_path: Path, target: Switch, caplog: pytest.LogCaptureFixture
) -> None:
    config = host_config(target, **SLOW_AUDIT)
    frame = Ether(src=MAC2, dst=MAC1) / IP(src="169.254.1.1", dst="169.254.1.10") / UDP()
    async with host_controller(tmp_path, config) as controller:
        await until_synced(controller)
        switch = controller.vswitch._switch
        assert switch is not None
        await switch.write([fy.P4PacketOut(bytes(frame), vni=config.channel.vni)])
        await until(lambda: "drop_reported" in caplog.text)
        status = await controller.status()
        assert status.digests["spoof_digest"] == 1
        assert status.verdicts["drop_spoofed"].packets == 1
        assert status.verdicts["drop_spoofed"].bytes >= len(bytes(frame))
        assert status.verdicts["forwarded"].packets == 0
        assert f"src_mac='{MAC2}'" in caplog.text
        assert "port=1" in caplog.text


async def test_two_vifs_of_one_port_are_reached_by_their_logical_switch(
    tmp_path: Path, target: Switch
) -> None:
    further = {
        "vni": 5002,
        "hypervisor_port": 3,
        "vlan": 4093,
        "pool": {"first": "169.254.128.1", "last": "169.254.128.9"},
    }
    config = HostConfig.model_validate(
        {
            "switch": {"address": target.address, **SLOW_AUDIT},
            "pool": {"last": "169.254.1.99"},
            "logical_switch": [further],
        }
    )
    async with host_controller(tmp_path, config) as controller:
        vifs = [controller.attach("vm1", MAC1, 2, 0), controller.attach("vm2", MAC2, 2, 0, 5002)]
        await until_realised(controller, "vm1", "vm2")
        switch = controller.vswitch._switch
        assert switch is not None
        for vif in vifs:
            frame = Ether(src=config.channel.hypervisor_mac, dst=vif.mac) / IP(src="169.254.1.1", dst=vif.lip)
            for vni in (5001, 5002):  # a PacketOut names the logical switch, whatever port it enters by
                await switch.write([fy.P4PacketOut(bytes(frame / UDP()), vni=vni)])

        def counted(verdicts: Mapping[str, control_pb2.Count]) -> dict[str, int]:
            return {name: count.packets for name, count in verdicts.items() if count.packets}

        try:
            async with asyncio.timeout(10):
                while sum(counted((await controller.status()).verdicts).values()) < 4:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            counts = counted((await controller.status()).verdicts)
        assert counts == {"forwarded": 2, "drop_no_route": 2}


def test_a_vswitch_at_rest_is_read_back_as_often_as_its_tables_allow() -> None:
    assert audit_delay(10.0, 0) == audit_delay(10.0, 1000) == 10.0
    assert audit_delay(10.0, 8000) == 80.0  # a thousand VIFs


async def test_many_attachments_take_few_rounds_and_no_error(
    tmp_path: Path, target: Switch, caplog: pytest.LogCaptureFixture
) -> None:
    config = host_config(target, **SLOW_AUDIT)
    async with host_controller(tmp_path, config) as controller:
        await until_synced(controller)
        before = controller.vswitch.state.reconciliations
        for n in range(200):  # while others are being written
            controller.attach(f"vm{n}", f"02:00:00:00:01:{n:02x}", 2 + n, 0)
            await asyncio.sleep(0)
        await until_realised(controller, *(f"vm{n}" for n in range(200)))
        assert controller.vswitch.state.writes == 7 + 200 * 8
        assert controller.vswitch.state.reconciliations - before < 20
    assert "faster than they can be read back" not in caplog.text


async def test_verdicts_outlive_the_connection(tmp_path: Path, target: Switch) -> None:
    async with host_controller(tmp_path, host_config(target)) as controller:
        await until_synced(controller)
        before = (await controller.status()).verdicts
        assert "drop_guest_to_guest" in before
        assert "drop_untranslated" in before
        target.kill()
        await until(lambda: not controller.vswitch.state.connected)
        assert (await controller.status()).verdicts == before


async def test_a_status_does_not_hang_with_the_switch(tmp_path: Path, target: Switch) -> None:
    async with host_controller(tmp_path, host_config(target, **SLOW_AUDIT)) as controller:
        await until_synced(controller)
        before = (await controller.status()).verdicts
        target.hang()
        async with asyncio.timeout(8):  # less than an RPC's own 10 s
            assert (await controller.status()).verdicts == before


async def test_the_guest_profile_realises_its_own_vif(tmp_path: Path, target: Switch) -> None:
    config = GuestConfig.model_validate({"switch": {"address": target.address}, "vif": {"mac": MAC1}})
    profile = GuestProfile(config)
    vif, program = profile.own_vif(), find_program(profile.program)
    controller = Controller(profile, FixedAttachment(vif), config.switch, program, cip=config.channel.cip)
    async with running(controller):
        await until_realised(controller, "vif")
        spy = OtherHand(target.address, program=profile.program)
        assert await spy.read() == set(profile.fixed_entries() + profile.vif_entries(vif))
        await spy.close()


async def test_it_ends_when_told_so_just_as_its_switch_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the connection must not hide that of the controller, which would go on for ever."""
    config = GuestConfig.model_validate({"switch": {"address": "unix:/nowhere"}, "vif": {"mac": MAC1}})
    profile = GuestProfile(config)
    program = find_program(profile.program)
    attachments = FixedAttachment(profile.own_vif())
    controller = Controller(profile, attachments, config.switch, program, cip=config.channel.cip)
    lost, connected = asyncio.Event(), asyncio.Event()

    async def connection() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(slow_to_end(lost))
            await asyncio.sleep(0)
            connected.set()
            raise ConnectionError("lost")

    monkeypatch.setattr(controller.vswitch, "_connection", connection)
    running_task = asyncio.create_task(controller.vswitch.run())
    await connected.wait()
    await asyncio.sleep(0)  # the group ends now, and waits for its task
    running_task.cancel()
    lost.set()
    done, _ = await asyncio.wait({running_task}, timeout=DEADLINE_S)
    if not done:
        running_task.cancel()
    assert done
    assert running_task.cancelled()


async def slow_to_end(lost: asyncio.Event) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await lost.wait()
