# SPDX-License-Identifier: Apache-2.0
"""What is read of a domain's XML, and the words for what is not valid."""

import subprocess
from contextlib import suppress

import pytest
from hvchannel_control.libvirt.domain import NAMESPACE, Domain, DomainError, Wanted, parse
from hypothesis import given
from hypothesis import strategies as st

from tests.libvirt.hypervisor import BIN, PACKAGING, domain, interface

MAC = "52:54:00:00:00:02"


def test_the_packaged_example_is_a_vif_by_the_defaults() -> None:
    found = parse((PACKAGING / "domain.xml").read_text())
    assert found.vifs == (Wanted("vm1", "hvc2", MAC),)
    assert found.plugged == found.vifs


def test_the_id_is_the_domains_name_and_all_else_may_be_said() -> None:
    assert parse(domain("dev='hvc2'", name="web-1")).vifs == (Wanted("web-1", "hvc2", ""),)
    said = domain(
        "dev='hvc2' id='a' port='7' vni='5002' vlan='4093' mac='02-00-00-00-00-0A'", interfaces=(IF2,)
    )
    assert parse(said).vifs == (Wanted("a", "hvc2", "02:00:00:00:00:0a", 7, 5002, 4093),)


IF2 = interface("hvc2", MAC)


def test_a_vif_without_its_interface_is_not_plugged() -> None:
    found = parse(domain("dev='hvc2'", "dev='hvc3' id='b'", interfaces=(IF2,)))
    assert [vif.vif_id for vif in found.plugged] == ["vm1"]
    assert found.interfaces == ("hvc2",)


def test_a_domain_without_the_channel_has_no_vif() -> None:
    assert parse("<domain><name>x</name></domain>") == Domain("x", "x", (), ())


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        ("<domain>", "not XML"),
        ("<network/>", "<network> is not a domain"),
        ("<domain/>", "a domain without a name"),
        (domain("id='a'"), "domain 'vm1': <vif>: lacks dev, the target device"),
        (domain("dev='hvc2' nic='1'"), "no attribute 'nic' (valid: id, dev, port, mac, vni, vlan)"),
        (domain("dev='hvc2' id='a b'"), "id 'a b' is not 1 to 63 of [A-Za-z0-9._-]"),
        (domain("dev='hvc2'", name="my vm"), "the domain's name is none: give id"),
        (domain("dev='hvc2' vlan='x'"), "vlan 'x' is not a number above 0"),
        (domain("dev='hvc2' port='0'"), "port '0' is not a number above 0"),
        (domain("dev='hvc2' mac='1'", interfaces=(IF2,)), "mac: '1' is not a MAC address"),
        (domain("dev='hvc2'", "dev='hvc3'"), "2 VIFs 'vm1'; give each an id of its own"),
    ],
)
def test_what_is_not_valid_is_named(xml: str, words: str) -> None:
    with pytest.raises(DomainError) as caught:
        parse(xml)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text() | st.text(alphabet=f"<>/='\" channelvifd{NAMESPACE}", max_size=200).map("<domain>{}".format))
def test_whatever_is_read_fails_with_a_line_of_ours(text: str) -> None:
    with suppress(DomainError):
        parse(text)


def check(xml: str) -> "subprocess.CompletedProcess[str]":
    command = [BIN / "hvchannel-libvirt", "check"]
    return subprocess.run(command, input=xml, capture_output=True, text=True, timeout=60, check=False)


def test_check_says_what_would_be_attached() -> None:
    done = check(domain("dev='hvc2' vlan='4093'", "dev='hvc3' id='b'", interfaces=(IF2,)))
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"VIF vm1: MAC {MAC} at the port of hvc2, VNI the default, VLAN 4093",
        "VIF b: no interface with the target device hvc3 (there: hvc2)",
    ]


def test_check_of_a_domain_without_the_channel_fails_and_says_where_to_look() -> None:
    done = check(domain())
    assert done.returncode == 1
    assert "nothing to attach (packaging/libvirt/domain.xml shows how)" in done.stderr
