# SPDX-License-Identifier: Apache-2.0
"""The STF runner: our own pairs, and what it says of tests that are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hvchannel_softswitch.model import load
from hvchannel_softswitch.stf import SyntaxFault, parse, play
from hvchannel_softswitch.stf.engines import StfEngine
from hvchannel_softswitch.stf.main import app
from hvchannel_softswitch.stf.player import Failed
from typer.testing import CliRunner

PAIRS = sorted((Path(__file__).parent / "stf").glob("*.stf"))


@pytest.mark.parametrize("script", PAIRS, ids=lambda path: path.stem)
def test_pair(script: Path) -> None:
    play(load(script.with_suffix(".json").read_bytes()), parse(script.read_text()))


@pytest.mark.parametrize("script", PAIRS, ids=lambda path: path.stem)
def test_every_expectation_is_looked_at(script: Path) -> None:
    program = load(script.with_suffix(".json").read_bytes())
    lines = script.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith("expect") and not line.startswith("expect 0 1400 ****"):
            words = line.partition("#")[0].split()
            words[2] = ("1" if words[2][0] != "1" else "2") + words[2][1:]
            with pytest.raises(Failed):
                play(program, parse("\n".join([*lines[:number], " ".join(words), *lines[number + 1 :]])))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n\npacket 1 0", "line 3: packet: expected whole bytes"),
        ("packet one 00", "line 1: packet: expected a port number, found 'one 00'"),
        ("expect 1 0g", "line 1: expect: expected hexadecimal digits"),
        ("teleport 1", "line 1: no statement 'teleport' (valid: add, "),
        ("add t k:1", "line 1: expected an action like name(param:value), found ''"),
        ("add t k:1 a(x)", "line 1: expected an argument like param:value, found 'x'"),
        ("add t k:1 a() more", "line 1: expected the end of the line, found 'more'"),
        ("remove", "line 1: remove: expected 'all' or the label"),
        ("check_counter c", "line 1: check_counter: expected name(index)"),
        ("mirroring_add 1", "line 1: mirroring_add: expected 2 words after it, found 1"),
        ("setdefault", "line 1: setdefault: expected a table"),
    ],
)
def test_what_is_not_of_the_language(text: str, reason: str) -> None:
    with pytest.raises(SyntaxFault) as fault:
        parse(text)
    assert str(fault.value).startswith(reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("packet 1 0000\nexpect 1 00$", "line 2: port 1: 8 bytes, expected 1"),
        ("packet 1 0000\nexpect 1 01", "line 2: port 1: differs at byte 0"),
        ("packet 1 0000\nexpect 1\nexpect 1", "line 3: port 1: expected a packet, none came (1 of 2 did)"),
        ("packet 1 0000", "port 1: 1 packets too many, the first 0000"),
        ("packet 1 0000\nno_packet\nexpect 1", "port 1: 1 packets too many"),
        (
            "add nowhere what:0 to_port(port:1)",
            "line 1: table 'nowhere' does not exist (there are: CopiesIngress.",
        ),
        ("add route that:0 to_port(port:1)", "has no key 'that' (its keys: what)"),
        ("add route what:0 go(port:1)", "action of table 'CopiesIngress.route' 'go' does not exist"),
        ("add route what:0 to_port()", "takes (port), not ()"),
        ("add route what:0x* to_port(port:1)", "key 'what' is exact; it takes a plain number"),
        ("add route what:256 to_port(port:1)", "it has 8 bits, too few for 0x100"),
        (
            "add route what:1 to_port(port:1)\nadd route what:1 to_port(port:1)",
            "line 2: table 'CopiesIngress.route'",
        ),
        ("remove lost", "no entry has the label 'lost' (there are: none)"),
        ("check_counter c(1)", "counter 'c' does not exist"),
        ("mc_node_associate 1 0", "there is no multicast node 0"),
        ("mirroring_get 4", "there is no mirroring session 4"),
        ("register_read r 0", "register 'r' does not exist"),
        ("pvs_add p 1", "parser value set 'p' does not exist"),
    ],
)
def test_what_fails_says_where_and_why(
    program_json: Callable[[str], dict[str, Any]], text: str, reason: str
) -> None:
    with pytest.raises(Failed) as failure:
        play(load(program_json("copies")), parse(text))
    assert reason in str(failure.value)
    assert "\n" not in str(failure.value)


def test_keys_as_p4cs_tests_write_them(lookup: Any) -> None:
    tables = {name.rpartition(".")[2]: table for name, table in lookup.program.tables.items()}
    key = tables["ternary_t"].keys[0].name
    action = next(a for a in tables["ternary_t"].actions if len(a.params) == 1)
    call = f"{action.name}({action.params[0].name}:1)"
    play(
        lookup.program,
        parse(f"add ternary_t 10 {key}:0x1* {call}\nadd ternary_t {key}:0b1*** {call} = x\nremove all"),
    )


def test_command_line(tmp_path: Path) -> None:
    runner, folder = CliRunner(), PAIRS[0].parent
    good = runner.invoke(app, [str(folder)])
    assert (good.exit_code, good.stdout.splitlines()[-1]) == (0, f"{len(PAIRS)} passed, 0 failed")
    wrong = tmp_path / "wrong.stf"
    wrong.write_text("packet 1 0000\n")
    bad = runner.invoke(app, [str(folder / "copies.json"), str(wrong), "--json"])
    assert bad.exit_code == 1
    summary = json.loads(bad.stdout)
    assert (summary["passed"], summary["refused"], summary["failed"]) == (0, 0, 1)
    assert "too many" in summary["tests"][0]["reason"]
    assert runner.invoke(app, [str(folder / "copies.json")]).exit_code == 2
    assert runner.invoke(app, [str(tmp_path / "none")]).exit_code == 2
    lonely = runner.invoke(app, [str(tmp_path)])
    assert lonely.exit_code == 1
    assert "wrong.json: No such file" in lonely.stdout
    traced = runner.invoke(app, [str(folder / "copies.json"), str(wrong), "--trace"])
    assert "extract  order" in traced.stderr


MATCHES = """
add exact_one a:5 metered(value:0x70) = five
add ranges 2 c:3 d:0x1 a:0x0* add(value:9)
add last value:0x16 stop()
setdefault lpm_one NoAction()
packet 1 05 0002 0031 00000004 aabb
expect 4 22850042 050002003100000004 aabb $
packet 1 09 0002 0031 00000004
packet 1 0a
expect 4 20000000 0a $
check_counter hits(five) packets == 1
check_counter hits(five) bytes == 11
no_packet
"""


@pytest.mark.root
@pytest.mark.parametrize("engine", StfEngine)
def test_the_same_on_either_engine(engine: StfEngine, program_json: Callable[[str], dict[str, Any]]) -> None:
    program = load(program_json("matches"))
    play(program, parse(MATCHES), engine=engine)
    for right, wrong in (
        ("22850042", "22850043"),
        ("bytes == 11", "bytes == 12"),
        ("\nno_packet", "\nexpect 4"),
    ):
        with pytest.raises(Failed):
            play(program, parse(MATCHES.replace(right, wrong)), engine=engine)


@pytest.mark.root
def test_a_program_outside_the_subset_is_refused_not_failed(tmp_path: Path) -> None:
    runner, folder = CliRunner(), PAIRS[0].parent
    found = runner.invoke(app, [str(folder), "--engine", "xdp"])
    lines = found.stdout.splitlines()
    assert found.exit_code == 0
    assert lines[-1] == f"0 passed, {len(PAIRS)} refused, 0 failed"
    assert "choice.stf: header 'options' has a varbit field" in lines[0]
    assert lines[0].startswith("refused ")
    strict = runner.invoke(app, [str(folder), "--engine", "xdp", "--strict", "--json"])
    assert strict.exit_code == 1
    summary = json.loads(strict.stdout)
    assert (summary["passed"], summary["refused"], summary["failed"]) == (0, len(PAIRS), 0)
    assert all(test["refused"] and test["reason"] for test in summary["tests"])
    wrong = tmp_path / "wrong.stf"
    wrong.write_text("teleport 1\n")
    assert runner.invoke(app, [str(folder / "choice.json"), str(wrong), "--engine", "xdp"]).exit_code == 1
