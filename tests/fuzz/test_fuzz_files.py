# SPDX-License-Identifier: Apache-2.0
"""Files that somebody else wrote, or that a disk damaged: taken, or refused in one line that names them."""

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hvchannel_control import examples as example_files
from hvchannel_control.config import ConfigError, ControllerConfig, load_guest, load_host
from hvchannel_control.store import Store, StoreError
from hvchannel_control.vif import Vif
from hvchannel_daemons import command_import
from hvchannel_daemons.feed import Ack, FeedError, Outcome, Report, Session, SessionState, location, open_feed
from hvchannel_daemons.guestd.store import GuestStore
from hvchannel_daemons.guestd.store_tables import Arrived
from hvchannel_daemons.storage.database import DatabaseError
from hvchannel_lab import frames
from hvchannel_softswitch.stf import language
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether

from tests.fuzz.damage import altered, damaged, examples

STF = b"""
add tbl 10 key:0x1*34 other.key:0b1/24 act(p:0x5, q:6) = label
setdefault "tbl" act()
packet 1 00 11 2233
expect 2 00 ** 22$
no_packet
remove all
check_counter c(3) packets == 7
check_counter c($label)
mirroring_add 5 1
register_write r 1 0x10
act_prof_create_member prof act(p:1)
"""


def one_line(error: Exception) -> None:
    assert str(error)
    assert "\n" not in str(error)
    assert str(error).isprintable(), repr(str(error))


@examples(120)
@given(st.data())
def test_controllers_configurations(tmp_path: Path, data: st.DataObject) -> None:
    load: Callable[[Path], ControllerConfig]
    load, example = data.draw(
        st.sampled_from([(load_host, example_files.HOST), (load_guest, example_files.GUEST)])
    )
    # as an operator would have it: without the comments, which are most of it
    settings = "\n".join(line for line in example.splitlines() if line and not line.startswith("#"))
    file = tmp_path / "control.toml"
    file.write_bytes(data.draw(damaged(settings.encode())))
    try:
        load(file)
    except ConfigError as error:
        one_line(error)
        assert str(file) in str(error)


@examples(150)
@given(
    st.text(max_size=60)
    | damaged(b"nats://host:4222,other:4223/name").map(lambda b: b.decode(errors="replace"))
)
def test_locations_of_a_feed(text: str) -> None:
    try:
        location.parse(text)
    except ValueError as error:
        one_line(error)


@examples(150)
@given(
    st.lists(
        altered(
            {
                "vif": "vm1",
                "key": "a/b",
                "content_type": "text/plain",
                "text": "x",
                "base64": "eA==",
                "deleted": True,
            }
        ),
        min_size=1,
        max_size=3,
    )
)
def test_imports(tmp_path: Path, lines: list[str]) -> None:
    file = tmp_path / "import.json"
    file.write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    try:
        list(command_import._wanted(str(file), None, "text/plain"))
    except ValueError as error:
        one_line(error)


@examples(300)
@given(damaged(STF).map(lambda b: b.decode(errors="replace")) | st.text(max_size=40))
def test_stf_files(text: str) -> None:
    try:
        language.parse(text)
    except language.SyntaxFault as error:
        one_line(error)
        assert str(error).startswith("line ")


@pytest.mark.parametrize("text", ["packet \u00b2 00", "expect \u00b9", "check_counter c(\u00b2)"])
def test_digits_of_stf_are_ours(text: str) -> None:
    """`str.isdigit` knows others, that int() does not."""
    with pytest.raises(language.SyntaxFault):
        language.parse(text)


FRAMES = [
    bytes(Ether() / Dot1Q(vlan=4094) / IP(dst="169.254.1.2", options=[]) / TCP() / b"payload"),
    bytes(Ether() / IP() / UDP() / b"payload"),
    bytes(Ether() / ARP()),
]


@examples(200)
@given(st.binary(max_size=80) | st.sampled_from(FRAMES).flatmap(damaged))
def test_captured_frames(data: bytes) -> None:
    decoded = frames.decode(data)
    assert str(decoded)
    frames.carries(data, FRAMES[0])


# --- stores


async def _feed(directory: Path) -> None:
    feed = await open_feed(str(directory / "feed.db"))
    try:
        await feed.serve("hv1")
        claim = await feed.claim("vm1", _nobody)
        for n in range(30):
            await feed.put("vm1", f"k{n % 7}", bytes(n * 100), "text/plain")
        await feed.record_acks("vm1", [Ack("k1", 1, Outcome.STORED, 1)])
        await feed.add_reports("vm1", [Report(bytes(16), 1, "t", "", b"x", 1)])
        await feed.set_session(Session("vm1", SessionState.READY, "", 1))
        await feed.deliveries("vm1")
        await feed.reports("vm1")
        await feed.sessions()
        for document in await feed.documents("vm1", after=0, limit=100):
            await feed.content(document)
        assert claim.vif == "vm1"
    finally:
        await feed.close()


async def _nobody(host: str) -> None:
    raise AssertionError(host)


async def _guest(directory: Path) -> None:
    store = GuestStore(directory)
    try:
        binding = await store.bind("vm1", "o1")
        for n in range(1, 30):
            await store.apply(binding, [Arrived(f"k{n % 7}", n, "", bytes(32), 100, bytes(100))])
        await store.documents("", after_key="", limit=100)
    finally:
        await store.close()


async def _control(directory: Path) -> None:
    store = Store(directory / "control.db")
    try:
        for vif in store.vifs():
            store.detach(vif.vif_id)
        for n in range(1, 40):
            store.attach(Vif(f"vm{n}", f"02:00:00:00:00:{n:02x}", n, 4094, IPv4Address(0xA9FE0100 + n), 0))
        store.vifs()
    finally:
        store.close()


Use = Callable[[Path], Awaitable[None]]
STORES: dict[str, tuple[str, Use, tuple[type[Exception], ...]]] = {
    "hostd": ("feed.db", _feed, (FeedError,)),
    "guestd": ("store.db", _guest, (DatabaseError,)),
    "control": ("control.db", _control, (StoreError,)),
}


@pytest.mark.parametrize("whose", STORES)
@examples(25)
@given(data=st.data())
def test_stores_on_a_disk_that_damages(
    tmp_path_factory: pytest.TempPathFactory, whose: str, data: st.DataObject
) -> None:
    """Truncated, or some bytes others: it serves what it can read, or says in one line that it cannot."""
    name, use, errors = STORES[whose]
    good = _good(tmp_path_factory, whose)
    directory = tmp_path_factory.mktemp("store")
    content = bytearray(good)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, 200) | st.integers(0, len(content) - 1))
        piece = data.draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 64, b"\0" * 4096]))
        content[at : at + len(piece)] = piece
    del content[data.draw(st.just(len(content)) | st.integers(0, len(content))) :]
    (directory / name).write_bytes(content)
    try:
        asyncio.run(use(directory))
    except errors as error:
        one_line(error)
        assert name in str(error)
    finally:
        shutil.rmtree(directory)


_made: dict[str, bytes] = {}


def _good(tmp_path_factory: pytest.TempPathFactory, whose: str) -> bytes:
    if whose not in _made:
        name, use, _ = STORES[whose]
        directory = tmp_path_factory.mktemp("good")
        asyncio.run(use(directory))
        with contextlib.suppress(FileNotFoundError):
            assert (directory / f"{name}-wal").stat().st_size == 0
        _made[whose] = (directory / name).read_bytes()
    return _made[whose]
