# SPDX-License-Identifier: Apache-2.0
"""Getting into a NATS cluster: TLS both ways, credentials of both kinds, and what is said when they are wrong."""

import asyncio
import base64
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nkeys
import pytest
from hvchannel_daemons.feed import Access, FeedAwayError, FeedError, open_feed

from tests.daemons import nats_servers

pytestmark = pytest.mark.skipif(nats_servers.PROGRAM is None, reason=nats_servers.MISSING)

SECRET = "correct-horse-battery"


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture
def password_server(tmp_path: Path) -> Iterator[nats_servers.NatsServer]:
    configuration = f'authorization {{ user: "hv", password: "{SECRET}" }}'
    with nats_servers.running(tmp_path / "nats", configuration) as server:
        yield server


async def test_user_and_password_come_from_a_file(password_server, tmp_path: Path) -> None:
    right = Access(credentials=private(tmp_path / "right", f"hv:{SECRET}\n"))
    feed = await open_feed(password_server.url, right)
    assert await feed.put("vm1", "a", b"x", "") == 1
    await feed.close()
    wrong = Access(credentials=private(tmp_path / "wrong", "hv:other\n"))
    for access in (wrong, Access()):
        with pytest.raises(FeedAwayError, match="refuses these credentials"):
            await open_feed(password_server.url, access)


@pytest.mark.parametrize("told_after", [3, None])
async def test_a_refusal_that_a_reset_destroys(told_after: int | None) -> None:
    """The server's -ERR may be lost when it hangs up before it has read all we sent."""
    tries = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        writer.write(b'INFO {"server_id":"x","version":"2.9.10","max_payload":1048576}\r\n')
        await reader.readuntil(b"\r\n")
        if told_after is not None and tries > told_after:
            writer.write(b"-ERR 'Authorization Violation'\r\n")
            await writer.drain()
            await reader.read()
        else:
            reset = struct.pack("ii", 1, 0)  # struct linger: close sends RST
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(FeedAwayError, match="refuses these credentials"):
            await open_feed(f"nats://127.0.0.1:{port}", Access())
    assert tries > 3


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (f"hv:{SECRET}", 0o644, "mode 0644 lets others read it"),
        (SECRET, 0o600, "neither a .creds file nor one line user:password"),
        (None, 0o600, "No such file"),
    ],
)
async def test_a_credentials_file_that_is_none_is_named_and_not_told(
    nats_feed: str, tmp_path: Path, content: str | None, mode: int, message: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        private(file, content).chmod(mode)
    with pytest.raises(FeedError, match=message) as raised:
        await open_feed(nats_feed, Access(credentials=file))
    assert str(file) in str(raised.value) and SECRET not in str(raised.value)


async def test_no_secret_reaches_a_log_or_an_argument(
    rig, control, password_server, processes, tmp_path: Path, short_dir: Path
) -> None:
    """hostd at its most talkative, through a loss of the server."""
    secret = private(tmp_path / "secret", f"hv:{SECRET}")
    processes.feed = f"{password_server.url}/hv --feed-credentials {secret} --log-level debug"
    hostd = processes.hostd()
    log = short_dir / "hostd.log"

    async def said(word: str, times: int = 1) -> bool:
        return log.read_text().count(word) >= times

    await rig.eventually(lambda: said('"serving"'), "serving")
    password_server.kill()
    await rig.eventually(lambda: said("feed_lost"), "feed_lost")
    password_server.start()
    await rig.eventually(lambda: said("feed_connected"), "feed_connected")
    assert hostd.popen is not None
    shown = [log, *(Path(f"/proc/{hostd.popen.pid}/{name}") for name in ("cmdline", "environ"))]
    assert SECRET not in "".join([path.read_text() for path in shown])


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """ca, server and client: NAME.pem and NAME.key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl (apt-get install openssl)")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signing)
    return tmp_path


async def test_tls_with_certificates_at_both_ends(certificates: Path, tmp_path: Path) -> None:
    c = certificates
    tls = f'tls {{ cert_file: "{c}/server.pem", key_file: "{c}/server.key", ca_file: "{c}/ca.pem", verify: true }}'
    with nats_servers.running(tmp_path / "nats", tls, tls=True) as server:
        access = Access(ca=c / "ca.pem", cert=c / "client.pem", key=c / "client.key")
        feed = await open_feed(server.url, access)
        assert await feed.put("vm1", "a", b"x", "") == 1
        await feed.close()
        with pytest.raises(FeedError, match=r"the server's certificate is not trusted.*--feed-ca"):
            await open_feed(server.url)
        with pytest.raises(FeedError, match="certificate"):
            await open_feed(server.url, Access(ca=c / "ca.pem"))
        with pytest.raises(FeedError, match="certificate"):
            await open_feed(server.url.replace("tls:", "nats:"))
        with pytest.raises(FeedError, match=r"--feed-ca .*none.pem: No such file"):
            await open_feed(server.url, Access(ca=c / "none.pem"))


def jwt(claims: dict[str, object], signer: nkeys.KeyPair) -> str:
    """As nsc writes them."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    issued = claims | {"iss": signer.public_key.decode(), "iat": 1_700_000_000}
    issued["jti"] = (
        base64.b32encode(hashlib.sha256(json.dumps(issued).encode()).digest()).rstrip(b"=").decode()
    )
    head = part(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
    signed = f"{head}.{part(json.dumps(issued).encode())}"
    return f"{signed}.{part(signer.sign(signed.encode()))}"


def key_pair(prefix: int) -> tuple[nkeys.KeyPair, str]:
    seed = nkeys.encode_seed(os.urandom(32), prefix)
    return nkeys.from_seed(bytearray(seed)), bytes(seed).decode()


async def test_a_creds_file(tmp_path: Path) -> None:
    operator, _ = key_pair(nkeys.PREFIX_BYTE_OPERATOR)
    account, _ = key_pair(nkeys.PREFIX_BYTE_ACCOUNT)
    user, seed = key_pair(nkeys.PREFIX_BYTE_USER)
    limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    stored = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
    operator_jwt = jwt(
        {"sub": operator.public_key.decode(), "name": "o", "nats": {"type": "operator", "version": 2}},
        operator,
    )
    account_name = account.public_key.decode()
    account_claims = {"type": "account", "version": 2, "limits": limits | stored | {"wildcards": True}}
    account_jwt = jwt({"sub": account_name, "name": "a", "nats": account_claims}, operator)
    system, _ = key_pair(nkeys.PREFIX_BYTE_ACCOUNT)
    system_name = system.public_key.decode()
    system_claims = {"type": "account", "version": 2, "limits": limits | {"wildcards": True}}
    system_jwt = jwt({"sub": system_name, "name": "SYS", "nats": system_claims}, operator)
    user_claims = {"type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}
    user_jwt = jwt({"sub": user.public_key.decode(), "name": "hv", "nats": user_claims}, account)
    creds = private(
        tmp_path / "hv.creds",
        f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n",
    )
    known = f"{account_name}: {account_jwt}, {system_name}: {system_jwt}"
    configuration = (
        f"operator: {operator_jwt}\nsystem_account: {system_name}\n"
        f"resolver: MEMORY\nresolver_preload: {{ {known} }}"
    )
    with nats_servers.running(tmp_path / "nats", configuration) as server:
        feed = await open_feed(server.url, Access(credentials=creds))
        assert await feed.put("vm1", "a", b"x", "") == 1
        await feed.close()
        with pytest.raises(FeedAwayError, match="refuses these credentials"):
            await open_feed(server.url)
