# SPDX-License-Identifier: Apache-2.0
"""Mutual TLS on the channel: who is let in, who is not and is told why, and files that change under traffic."""

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from hvchannel_daemons import limits
from hvchannel_daemons.channel import identity
from hvchannel_daemons.channel.tls import Tls, TlsError, files
from hvchannel_daemons.feed import Feed, SessionState
from hvchannel_daemons.hostd import metrics
from hvchannel_lab.throwaway_ca import Authority
from hypothesis import given, strategies

GUEST = "127.0.0.11"


@pytest.fixture(scope="module")
def ca() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def other_ca() -> Authority:
    return Authority("somebody else")


def tls(directory: Path) -> Tls:
    where = files(directory, None, None, None)
    assert where is not None
    return Tls.open(where)


class World:
    """A hostd and a guestd of vm1, each with files of its own."""

    def __init__(self, rig, control, feed: Feed, port: int, directory: Path, ca: Authority) -> None:
        self.rig, self.control, self.feed, self.port, self.directory = rig, control, feed, port, directory
        self.host, self.guest = directory / "tls-host", directory / "tls-guest"
        ca.issue(self.host, identity.HYPERVISOR)
        ca.issue(self.guest, identity.guest_name("vm1"))

    @contextlib.asynccontextmanager
    async def up(self, *, host_tls: bool = True, guest_tls: bool = True) -> AsyncIterator[None]:
        async with self.guestd(tls=guest_tls), self.hostd(tls=host_tls):
            self.control.attach("vm1", GUEST)
            yield

    def hostd(self, *, tls: bool = True):
        return self.rig.hostd(
            self.directory, self.port, tls=_opened(self.host) if tls else None, heartbeat_seconds=0.5
        )

    def guestd(self, *, tls: bool = True):
        return self.rig.guestd(
            self.directory / "vm1", f"{GUEST}:{self.port}", tls=_opened(self.guest) if tls else None
        )

    async def ready(self) -> None:
        await self.rig.eventually(self._ready, "a ready session")

    async def _ready(self) -> bool:
        session = (await self.feed.sessions()).get("vm1")
        return session is not None and session.state is SessionState.READY

    async def refused(self, why: str) -> None:
        async def told() -> bool:
            session = (await self.feed.sessions()).get("vm1")
            return session is not None and why in session.reason

        await self.rig.eventually(told, f"a session that is refused: {why}")

    async def deliver(self, content: bytes) -> None:
        revision = await self.feed.put("vm1", "key", content, "text/plain")
        async with asyncio.timeout(30):
            delivery = await self.feed.settled("vm1", "key", revision)
        assert delivery.acknowledged >= revision

    async def served(self) -> int:
        """The serial number of the certificate that a new handshake gets."""
        context = ssl.create_default_context(cafile=str(self.host / "ca.pem"))
        context.check_hostname = False
        context.load_cert_chain(self.host / "cert.pem", self.host / "key.pem")
        _, writer = await asyncio.open_connection(GUEST, self.port, ssl=context)
        data = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return x509.load_der_x509_certificate(data).serial_number


_opened = tls


@pytest.fixture
def world(rig, control, feed: Feed, port: int, short_dir: Path, ca: Authority) -> World:
    return World(rig, control, feed, port, short_dir, ca)


def serial(directory: Path) -> int:
    return x509.load_pem_x509_certificate((directory / "cert.pem").read_bytes()).serial_number


def attempts() -> float:
    """How often hostd has dialled."""
    return next(s.value for s in next(iter(metrics.ATTEMPTS.collect())).samples if s.name.endswith("_total"))


async def test_both_ends_of_one_ca_talk(world: World) -> None:
    async with world.up():
        await world.ready()
        await world.deliver(b"secret")


async def test_a_guest_of_another_vif_is_refused_by_name(world: World, ca: Authority) -> None:
    ca.issue(world.guest, identity.guest_name("vm2"))
    async with world.up():
        await world.refused("the guest's certificate is for another VIF")


async def test_a_hypervisor_is_no_guest(world: World, ca: Authority) -> None:
    ca.issue(world.guest, identity.HYPERVISOR)
    async with world.up():
        await world.refused("is for another VIF")


async def test_a_guest_of_another_ca_is_refused(world: World, ca: Authority, other_ca: Authority) -> None:
    other_ca.issue(world.guest, identity.guest_name("vm1"), ca=ca.pem)
    async with world.up():
        await world.refused("the guest's certificate is not trusted")


async def test_an_expired_guest_is_refused(world: World, ca: Authority) -> None:
    ca.issue(world.guest, identity.guest_name("vm1"), until=datetime.now(UTC) - timedelta(minutes=1))
    async with world.up():
        await world.refused("the guest's certificate is not trusted")


async def test_a_guest_without_tls_is_refused(world: World) -> None:
    async with world.up(guest_tls=False):
        await world.refused("the guest does not speak TLS")


async def test_another_guest_is_no_hypervisor(world: World, ca: Authority) -> None:
    ca.issue(world.host, identity.guest_name("vm2"))
    async with world.up():
        await world.refused("the certificate is not a hypervisor's (hypervisor.hvchannel)")


@pytest.mark.parametrize("which", ["without TLS", "of another CA", "expired"])
async def test_a_hypervisor_that_is_not_trusted_gets_no_session(
    world: World, ca: Authority, other_ca: Authority, which: str
) -> None:
    if which == "of another CA":
        other_ca.issue(world.host, identity.HYPERVISOR, ca=ca.pem)
    elif which == "expired":
        ca.issue(world.host, identity.HYPERVISOR, until=datetime.now(UTC) - timedelta(minutes=1))
    async with world.up(host_tls=which != "without TLS"):
        await world.refused(GUEST)
        assert not await world._ready()


async def test_rotation_keeps_the_session_and_new_handshakes_get_the_new_certificate(
    world: World, ca: Authority
) -> None:
    async with world.up():
        await world.ready()
        session, dialled = (await world.feed.sessions())["vm1"], attempts()
        assert await world.served() == serial(world.guest)
        stop = asyncio.Event()

        async def traffic() -> int:
            n = 0
            while not stop.is_set():
                n += 1
                await world.deliver(b"%d" % n)
            return n

        delivering = asyncio.create_task(traffic())
        for _ in range(3):
            ca.issue(world.host, identity.HYPERVISOR)
            ca.issue(world.guest, identity.guest_name("vm1"))
            assert await world.served() == serial(world.guest)
            await world.deliver(b"between")
        stop.set()
        assert await delivering > 0
        assert (await world.feed.sessions())["vm1"] == session
        assert attempts() == dialled


async def test_an_expiry_ends_no_session_and_is_warned_of(world: World, ca: Authority) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=4)
    ca.issue(world.host, identity.HYPERVISOR, until=soon)
    ca.issue(world.guest, identity.guest_name("vm1"), until=soon)
    with structlog.testing.capture_logs() as logs:
        async with world.up():
            await world.ready()
            dialled = attempts()

            async def over() -> bool:
                return _opened(world.guest).seconds_left < 0

            await world.rig.eventually(over, "the certificate has expired")
            await world.deliver(b"still here")
            assert attempts() == dialled
    assert {log["event"] for log in logs if log["log_level"] == "warning"} >= {"certificate_expires"}


async def test_one_ca_follows_another(world: World, ca: Authority, other_ca: Authority) -> None:
    both = ca.pem + other_ca.pem
    async with world.up():
        await world.ready()
        dialled = attempts()
        # 1: both are trusted everywhere; 2: certificates of the new one; 3: the old one is trusted no longer
        ca.issue(world.host, identity.HYPERVISOR, ca=both)
        ca.issue(world.guest, identity.guest_name("vm1"), ca=both)
        other_ca.issue(world.guest, identity.guest_name("vm1"), ca=both)
        assert await world.served() == serial(world.guest)
        other_ca.issue(world.host, identity.HYPERVISOR, ca=other_ca.pem)
        other_ca.issue(world.guest, identity.guest_name("vm1"), ca=other_ca.pem)
        assert await world.served() == serial(world.guest)
        await world.deliver(b"after it")
        assert attempts() == dialled
    async with world.up():
        await world.ready()


async def test_files_that_do_not_go_together_change_nothing(world: World, ca: Authority) -> None:
    async with world.up():
        await world.ready()
        before = serial(world.guest)
        (world.guest / "key.pem").write_bytes((world.host / "key.pem").read_bytes())
        with structlog.testing.capture_logs() as logs:
            assert await world.served() == before
            assert await world.served() == before
        told = [log for log in logs if log["event"] == "certificate_not_read"]
        assert len(told) == 1
        assert "is not the key of" in told[0]["reason"]
        ca.issue(world.guest, identity.guest_name("vm1"))
        assert await world.served() == serial(world.guest) != before


VIFS = strategies.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True).map(limits.check_vif)


@given(one=VIFS, other=VIFS)
def test_no_two_vifs_have_one_name(one: str, other: str) -> None:
    name = identity.guest_name(one)
    assert (name.lower() == identity.guest_name(other).lower()) == (one == other)
    assert name.count(".") == 2
    assert name != identity.HYPERVISOR


def test_files_are_checked_with_one_line_each(tmp_path: Path, ca: Authority) -> None:
    ca.issue(tmp_path, identity.guest_name("vm1"))
    where = files(tmp_path, None, None, None)
    assert where is not None
    with pytest.raises(
        TlsError, match=r"cert\.pem: the certificate is for vm1\.vif\.hvchannel, not for hypervisor\."
    ):
        Tls.open(where, needs=identity.HYPERVISOR)
    assert b"PRIVATE" not in repr(Tls.open(where).current()).encode()
    with pytest.raises(TlsError, match="needs --channel-cert, --channel-key too"):
        files(None, tmp_path / "ca.pem", None, None)
    assert files(None, None, None, None) is None
    (tmp_path / "key.pem").chmod(0o640)
    with pytest.raises(TlsError, match=r"key\.pem: others may read this private key"):
        Tls.open(where)
    (tmp_path / "key.pem").chmod(0o600)
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(TlsError, match=r"ca\.pem: holds no certificate"):
        Tls.open(where)
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(TlsError, match=r"ca\.pem: No such file or directory"):
        Tls.open(where)


def test_the_documented_commands_make_files_that_are_taken(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl (apt-get install openssl)")
    text = (Path(__file__).parents[2] / "docs/tls.md").read_text()
    script = text.partition("```sh\n")[2].partition("```")[0]
    for _ in range(2):  # the second is a renewal
        subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True, capture_output=True)
    for directory, name in (("hv7", identity.HYPERVISOR), ("vm1", identity.guest_name("vm1"))):
        where = files(tmp_path / directory, None, None, None)
        assert where is not None
        assert 89 < Tls.open(where, needs=name).days_left <= 90
    assert identity.guest_name("Web.1") in text
