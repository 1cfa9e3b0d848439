# SPDX-License-Identifier: Apache-2.0
"""P4Runtime over TLS: softswitch serves it under simple_switch_grpc's options, hvchannel-control speaks it; who has no
certificate does not get in."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from finsy.proto import p4r, p4r_grpc
from hvchannel_lab.throwaway_ca import Authority
from hvchannel_softswitch.main import main
from hvchannel_softswitch.p4runtime.tls import ServerTls, TlsError

COMMAND = [sys.executable, "-m", "hvchannel_softswitch", "--no-p4", "--log-json"]
CONTROL = Path(sys.executable).with_name("hvchannel-control")
PATIENCE = 60.0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, cert.pem and key.pem of "localhost", and in `other` those by another authority."""
    folder = tmp_path_factory.mktemp("tls")
    Authority("one").issue(folder, "localhost")
    Authority("other").issue(folder / "other", "localhost")
    return folder


@pytest.fixture(scope="module")
def address(files: Path) -> Iterator[str]:
    """Of a switch that wants its clients' certificates."""
    options = ["--grpc-server-addr", "127.0.0.1:0", "--grpc-server-ssl", "--grpc-server-with-client-auth"]
    options += ["--grpc-server-cert", str(files / "cert.pem"), "--grpc-server-key", str(files / "key.pem")]
    command = [*COMMAND, "--device-id", "1", *options, "--grpc-server-cacert", str(files / "ca.pem")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                said = json.loads(line)
                if said["event"] == "listening":
                    yield said["address"].replace("127.0.0.1", "localhost")
                    break
            else:
                pytest.fail("it does not listen")
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


def asked(address: str, credentials: grpc.ChannelCredentials | None) -> str:
    """What the switch says of itself. Raises RpcError."""
    make = (
        grpc.insecure_channel(address) if credentials is None else grpc.secure_channel(address, credentials)
    )
    with make as channel:
        stub = p4r_grpc.P4RuntimeStub(channel)
        answer = stub.Capabilities(p4r.CapabilitiesRequest(), timeout=PATIENCE)
        return str(answer.p4runtime_api_version)


def credentials(files: Path, client: Path | None) -> grpc.ChannelCredentials:
    own = {} if client is None else {"private_key": (client / "key.pem").read_bytes()}
    chain = None if client is None else (client / "cert.pem").read_bytes()
    return grpc.ssl_channel_credentials((files / "ca.pem").read_bytes(), certificate_chain=chain, **own)


def test_a_client_with_a_certificate_gets_in(address: str, files: Path) -> None:
    assert asked(address, credentials(files, files))


@pytest.mark.parametrize("client", ["none", "another's", "in clear"])
def test_who_has_none_of_the_authoritys_does_not(address: str, files: Path, client: str) -> None:
    shown = {
        "none": credentials(files, None),
        "another's": credentials(files, files / "other"),
        "in clear": None,
    }
    with pytest.raises(grpc.RpcError) as refused:
        asked(address, shown[client])
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_controller_speaks_it(address: str, files: Path, tmp_path: Path) -> None:
    switch = (
        f'address = "{address}"\nca = "{files}/ca.pem"\ncert = "{files}/cert.pem"\nkey = "{files}/key.pem"\n'
    )
    (tmp_path / "control.toml").write_text(f"[switch]\n{switch}")
    command = [CONTROL, "host", "--config", tmp_path / "control.toml", "--log-json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            deadline = time.monotonic() + PATIENCE
            while json.loads(process.stderr.readline())["event"] != "in_sync":
                assert time.monotonic() < deadline
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--grpc-server-ssl"], "--grpc-server-ssl needs --grpc-server-cert and --grpc-server-key"),
        (["--grpc-server-cert", "x"], "without --grpc-server-ssl: it would serve in clear"),
        (["--grpc-server-ssl", "--grpc-server-addr", "unix:/tmp/s"], "a unix socket has a mode"),
    ],
)
def test_what_does_not_go_together_is_named(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--no-p4", *options])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_file_that_cannot_be_used_is_named(files: Path) -> None:
    with pytest.raises(TlsError, match="certificate /none, key /none: No such file or directory"):
        ServerTls(Path("/none"), Path("/none")).context()
    with pytest.raises(TlsError, match=r"certificates .*key\.pem: no PEM that OpenSSL takes"):
        ServerTls(files / "cert.pem", files / "key.pem", files / "key.pem").context()
