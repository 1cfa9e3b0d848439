# SPDX-License-Identifier: Apache-2.0
"""Configuration: defaults work, and every bad value is refused with its name."""

from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hvchannel_control import examples
from hvchannel_control.config import ConfigError, ControllerConfig, load_guest, load_host

Load = Callable[[Path], ControllerConfig]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "control.toml"


@pytest.mark.parametrize(("load", "example"), [(load_host, examples.HOST), (load_guest, examples.GUEST)])
def test_the_printed_example_is_the_defaults(file: Path, load: Load, example: str) -> None:
    file.write_text(example)
    explained = load(file)
    file.write_text("")
    assert load(file) == explained


@pytest.mark.parametrize("example", [examples.HOST, examples.GUEST])
def test_the_printed_example_names_every_key(file: Path, example: str) -> None:
    model = load_host if example is examples.HOST else load_guest
    file.write_text("")

    def keys(section: object) -> set[str]:
        names: set[str] = set()
        for name in type(section).model_fields:  # type: ignore[attr-defined]
            value = getattr(section, name)
            names |= keys(value) if hasattr(type(value), "model_fields") else {name}
        return names

    missing = {key for key in keys(model(file)) if f"{key} = " not in example and f"[[{key}]]" not in example}
    assert not missing


def test_relative_paths_are_relative_to_the_file(file: Path) -> None:
    file.write_text('state = "x/y.db"\npipeline = "p4"')
    config = load_host(file)
    assert config.state == file.parent / "x/y.db"
    assert config.socket == file.parent / "control.sock"
    assert config.pipeline == file.parent / "p4"
    assert config.switch.address == f"unix:{file.parent}/p4rt.sock"


def test_default_pool_leaves_the_metadata_address_out(file: Path) -> None:
    file.write_text("")
    pool = load_host(file).pool
    assert not pool.holds(IPv4Address("169.254.169.254"))
    assert pool.holds(IPv4Address("169.254.1.10"))
    assert pool.total == 0xFEFE - 0x010A


def further(**changed: str) -> str:
    """A file with a second logical switch, one thing of which is changed."""
    values = {
        "vni": "5002",
        "hypervisor_port": "2",
        "pool": '{ first = "169.254.128.1", last = "169.254.128.9" }',
        **changed,
    }
    first = '[pool]\nfirst = "169.254.1.10"\nlast = "169.254.1.99"\n'
    return first + "[[logical_switch]]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())


def test_a_further_logical_switch_stands_beside_the_default_one(file: Path) -> None:
    file.write_text(further())
    config = load_host(file)
    assert [(s.vni, s.hypervisor_port, str(s.pool), s.vlan) for s in config.switches.values()] == [
        (5001, 1, "169.254.1.10-169.254.1.99", 4094),
        (5002, 2, "169.254.128.1-169.254.128.9", 4094),
    ]
    file.write_text(further(vlan="7"))
    assert load_host(file).switches[5002].vlan == 7


HOST_REFUSALS = {
    "x = 1": "unknown key 'x' (valid here: channel, logical_switch, pipeline, policer, pool, socket, socket_mode, "
    "state, switch)",
    "[channel]\nvnii = 3": "unknown key 'channel.vnii' (valid here: cip, hypervisor_ip,",
    "[channel]\nvni = 0": "channel.vni: Input should be greater than or equal to 1, not 0",
    "[channel]\nvni = 16777216": "channel.vni: Input should be less than or equal to 16777215",
    "[channel]\nvlan = 4095": "channel.vlan: Input should be less than or equal to 4094, not 4095",
    '[channel]\nvlan = "7"': "channel.vlan: Input should be a valid integer, not '7'",
    '[channel]\ncip = "169.254.1.1"': "cip 169.254.1.1 is hypervisor_ip too",
    '[channel]\ncip = "10.0.0.1"': "cip 10.0.0.1 is not a host's address of prefix 169.254.0.0/16",
    '[channel]\ncip = "169.254.255.255"': "cip 169.254.255.255 is not a host's address of prefix",
    '[channel]\ncip = "169.254.169.254"': "cip 169.254.169.254 is where clouds serve metadata",
    '[channel]\ncip = "224.0.0.1"': "channel.cip: 224.0.0.1 is not a unicast address",
    "[channel]\ncip = 5": "channel.cip: must be a string",
    '[channel]\ncip = "::1"': "channel.cip:",
    '[channel]\nprefix = "169.254.1.0/16"': "channel.prefix:",
    '[channel]\nprefix = "10.0.0.0/8"': "hypervisor_ip 169.254.1.1 is not a host's address of prefix 10",
    '[channel]\nhypervisor_mac = "03:00:00:00:00:01"': "03:00:00:00:00:01 is a multicast MAC",
    '[channel]\nhypervisor_mac = "00:00:00:00:00:00"': "channel.hypervisor_mac:",
    '[channel]\nhypervisor_mac = "02:00"': "'02:00' is not a MAC address (like 02:00:00:00:00:01)",
    "[channel]\nhypervisor_port = 510": "channel.hypervisor_port 510 is switch.cpu_port too",
    "[channel]\nhypervisor_port = 511": "channel.hypervisor_port: Input should be less than or equal to 510",
    "[channel]\nreserved_vlans = [7, 4094]": "vlan 4094 is in reserved_vlans",
    "[channel]\nreserved_vlans = [0]": "channel.reserved_vlans.0:",
    "[pool]\nexcluded = []": "holds the clouds' metadata address 169.254.169.254",
    '[pool]\nfirst = "169.254.1.1"': "169.254.1.1-169.254.254.254 holds channel.hypervisor_ip 169.254.1.1",
    '[channel]\ncip = "169.254.7.7"': "holds channel.cip 169.254.7.7",
    '[pool]\nfirst = "169.253.1.1"': "pool.first 169.253.1.1 is not a host's address of channel.prefix",
    '[pool]\nlast = "169.254.255.255"': "pool.last 169.254.255.255 is not a host's address",
    '[pool]\nlast = "169.254.1.9"': "first 169.254.1.10 lies behind last 169.254.1.9",
    '[pool]\nlast = "169.254.1.10"\nexcluded = ["169.254.1.10"]': "no address is left between",
    "[policer]\nburst_bytes = 1000": "policer.burst_bytes:",
    "[policer]\nrate_bytes_per_s = 0": "policer.rate_bytes_per_s:",
    '[switch]\naddress = "192.0.2.1:9559"': "address '192.0.2.1:9559' is not on this machine's loopback",
    '[switch]\naddress = "0.0.0.0:9559"': "is not on this machine's loopback",
    '[switch]\naddress = "p4rt.sock"': "switch.address: 'p4rt.sock' is neither 'unix:PATH' nor 'HOST:PORT'",
    '[switch]\naddress = "localhost:0"': "is neither 'unix:PATH' nor 'HOST:PORT'",
    '[switch]\naddress = "unix:"': "'unix:' lacks the socket's path",
    "[switch]\ncpu_port = 511": "switch.cpu_port:",
    "[switch]\naudit_interval_s = 0": "switch.audit_interval_s:",
    "switch = 3": "switch: ",
    f'socket = "{"x" * 120}"': "longer than the 107 bytes a unix socket's path may have",
    "a = = b": "not TOML",
    "[[logical_switch]]\nvni = 2": "logical_switch.0.hypervisor_port: is missing",
    further(pool='{ first = "169.254.2.1" }'): "logical_switch.0.pool.last: is missing",
    further(vnii="3"): "unknown key 'logical_switch.0.vnii' (valid here: hypervisor_port, pool, vlan, vni)",
    further(
        pool='{ firs = "169.254.2.1" }'
    ): "'logical_switch.0.pool.firs' (valid here: excluded, first, last)",
    further(vni="5001"): "logical_switch.0.vni 5001 is channel.vni too",
    further(hypervisor_port="1"): "logical_switch.0.hypervisor_port 1 is channel.hypervisor_port too",
    further(hypervisor_port="510"): "logical_switch.0.hypervisor_port 510 is switch.cpu_port too",
    further(
        pool='{ first = "169.254.1.9", last = "169.254.1.10" }'
    ): "logical_switch.0.pool 169.254.1.9-169.254.1.10 overlaps pool 169.254.1.10-169.254.1.99; give each a part",
    further(
        pool='{ first = "169.254.169.1", last = "169.254.169.255", excluded = [] }'
    ): "logical_switch.0.pool 169.254.169.1-169.254.169.255 holds the clouds' metadata address 169.254.169.254",
    further(
        pool='{ first = "10.0.0.1", last = "10.0.0.2" }'
    ): "logical_switch.0.pool.first 10.0.0.1 is not a host's",
    further() + further()[further().index("[[") :]: "logical_switch.1.vni 5002 is logical_switch.0.vni too",
    "[channel]\nreserved_vlans = [7]\n"
    + further(vlan="7"): "logical_switch.0.vlan 7 is in channel.reserved_vlans",
    '[switch]\ninterfaces = { 2 = "a", 3 = "a" }': "switch.interfaces: a is at port 2 and at port 3",
}


@pytest.mark.parametrize("text", HOST_REFUSALS)
def test_a_bad_host_file_is_refused_in_one_line_that_names_it(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as refusal:
        load_host(file)
    assert HOST_REFUSALS[text] in str(refusal.value)
    assert str(refusal.value).startswith(str(file))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("address", ["127.0.0.1:9559", "localhost:9559", "[::1]:9559", "127.8.8.8:1"])
def test_loopback_is_near_enough(file: Path, address: str) -> None:
    file.write_text(f'[switch]\naddress = "{address}"')
    assert load_host(file).switch.address == address


def test_another_machine_is_allowed_when_asked_for(file: Path) -> None:
    file.write_text('[switch]\naddress = "192.0.2.1:9559"\nallow_remote = true')
    assert load_host(file).switch.address == "192.0.2.1:9559"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[vif]\nvnic_port = 1", "vnic_port 1 is daemon_port too"),
        ("[vif]\nvnic_port = 510", "vif.vnic_port 510 is switch.cpu_port too"),
        ('[vif]\nmac = "02:68:76:00:00:01"', "vif.mac 02:68:76:00:00:01 is channel.hypervisor_mac too"),
        ('[vif]\nvif_id = "-x"', "vif.vif_id:"),
        ("[pool]", "unknown key 'pool' (valid here: channel, pipeline, socket, socket_mode, switch, vif)"),
    ],
)
def test_a_bad_guest_file_is_refused(file: Path, text: str, complaint: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as refusal:
        load_guest(file)
    assert complaint in str(refusal.value)


def test_missing_file_is_one_line(file: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_host(file)


def test_guest_mac_is_given_or_an_interfaces(file: Path) -> None:
    file.write_text('[vif]\nmac = "02-00-00-00-00-0A"')
    assert load_guest(file).vif_mac() == "02:00:00:00:00:0a"
    file.write_text('[vif]\nvnic = "nosuch0"')
    with pytest.raises(ConfigError, match="interface 'nosuch0'"):
        load_guest(file).vif_mac()
    file.write_text('[vif]\nvnic = "lo"')
    with pytest.raises(ConfigError, match="no interface's MAC address"):
        load_guest(file).vif_mac()


def test_tls_makes_another_machine_near_enough(file: Path) -> None:
    file.write_text('[switch]\naddress = "192.0.2.1:9559"\nca = "ca.pem"\n')
    assert load_host(file).switch.ca == file.parent / "ca.pem"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('address = "127.0.0.1:9559"\ncert = "c"\nkey = "k"', "for TLS give ca, or ca, cert and key"),
        ('address = "127.0.0.1:9559"\nca = "a"\ncert = "c"', "for TLS give ca, or ca, cert and key"),
        ('ca = "a"', "is a unix socket: TLS (ca) is for HOST:PORT"),
    ],
)
def test_tls_is_whole_and_for_tcp(file: Path, text: str, why: str) -> None:
    file.write_text(f"[switch]\n{text}\n")
    with pytest.raises(ConfigError) as refused:
        load_host(file)
    assert why in str(refused.value)
