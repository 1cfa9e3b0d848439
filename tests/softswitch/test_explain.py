# SPDX-License-Identifier: Apache-2.0
"""`softswitch explain`, and that whoever is told of an instruction learns which P4 construct it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hvchannel_softswitch import bpf
from hvchannel_softswitch.main import main
from hvchannel_softswitch.model import UnsupportedProgram, load
from hvchannel_softswitch.xdp.compiled import NO_PORTS, CompiledProgram
from hvchannel_softswitch.xdp.listing import listing

FORWARD = Path(__file__).parents[1] / "p4runtime" / "programs" / "forward.json"
HOST = Path(__file__).parents[2] / "p4src" / "compiled" / "host_vswitch.json"
MULTICAST = Path(__file__).parent / "programs" / "multicast.json"
CHOICE = Path(__file__).parent / "stf" / "choice.json"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["explain", *words])
    out = capsys.readouterr()
    return int(end.value.code or 0), out.out, out.err


def test_every_instruction_stands_beside_its_construct(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, str(HOST), "--cpu-port", "510")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].endswith("host_vswitch.json, the build for ports")
    assert "of 512 bytes of stack" in lines[1]
    beside = [line[44:].strip() for line in lines if line[44:].strip()]
    for construct in ("parser state", "table forward: look-up", "table tag:", "deparser"):
        assert any(construct in text for text in beside), construct
    tables = {line.split()[0]: line for line in lines if " entries, " in line}
    assert "hash; 4104 entries" in tables["forward"]
    assert "in the code; 17 entries" in tables["verdict"]
    assert any(line.startswith("  ports        devmap") for line in lines)


@pytest.mark.parametrize("options", [(), ("--probe",), ("--trace",), ("--probe", "--trace")])
def test_as_json_the_slots_are_those_that_the_kernel_counts(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    code, out, _ = run(capsys, str(FORWARD), "--json", *options)
    found = json.loads(out)
    assert code == 0
    assert found["refused"] is None
    assert found["build"]["probe"] == ("--probe" in options)
    place = 0
    for line in found["lines"]:
        assert line["slot"] == place
        place += line["slots"]
    assert place == found["instructions"]
    maps = [one["name"] for one in found["maps"]]
    assert ("ports" in maps) == ("--probe" not in options), "a probe's frame goes nowhere"
    assert ("events" in maps) == ("--trace" in options), "a program without digests tells only when it traces"


def test_a_program_outside_the_subset(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, str(CHOICE))
    assert (code, out) == (1, "")
    assert "choice.json is not for the XDP engine: header 'options' has a varbit field" in err
    code, out, _ = run(capsys, str(CHOICE), "--json")
    assert code == 1
    assert json.loads(out)["refused"] == "header 'options' has a varbit field"


def test_wrong_command_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, str(tmp_path / "none.json"))
    assert code == 2
    assert err.startswith("softswitch explain: ")
    (tmp_path / "empty.json").write_text("{}")
    code, _, err = run(capsys, str(tmp_path / "empty.json"))
    assert code == 1
    assert "empty.json is no program" in err


@pytest.mark.root
def test_the_build_that_makes_replicas(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, str(MULTICAST), "--replica", "--verify")
    assert code == 0
    assert out.splitlines()[0].endswith("multicast.json, the build for replicas")
    assert "a replica" in out
    assert "parser state" not in out
    code, _, err = run(capsys, str(FORWARD), "--replica")
    assert code == 2
    assert "does not multicast" in err


@pytest.mark.root
def test_with_the_kernels_word(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, str(FORWARD), "--verify")
    assert code == 0
    assert "the verifier takes it" in out


@pytest.mark.root
def test_a_refusal_of_the_verifier_names_the_construct(
    monkeypatch: pytest.MonkeyPatch, program_json: Callable[[str], dict[str, Any]]
) -> None:
    program = CompiledProgram(load(program_json("lookup")), port_maps=NO_PORTS, drop_port=511, cpu_port=None)
    origins = program.compile(probe=True, trace=False).origins()
    assert len(set(origins)) > 10
    for construct in sorted(set(origins) - {""}):
        # The kernel's log ends with the instruction that it stopped at.
        place = origins.index(construct)

        def refuse(_code: bytes, *, name: str, place: int = place, **_options: Any) -> bpf.Program:
            raise bpf.VerifierError(
                name, 13, f"0: (bf) r6 = r1\n{place}: (61) r1 = *(u32 *)(r2 +0)\nno access"
            )

        monkeypatch.setattr(bpf, "load_program", refuse)
        with pytest.raises(UnsupportedProgram, match="verifier refuses it at ") as refusal:
            program.build(probe=True)
        assert f" at {construct}: " in str(refusal.value)
        assert "no access" in str(refusal.value)
    program.close()


def test_a_listing() -> None:
    assembly = """
        .section xdp,"ax",@progbits
packet:
        .loc    1 1 1
        r1 = 1 ll
        .loc    1 0 1
        exit
LBB0_1:
        .loc    1 2 1
        ld_pseudo       r1, 2, 1
        .section .debug_str
        .ascii "exit"
        exit
"""
    lines = [(line.text, line.slot, line.slots, line.origin) for line in listing(assembly, ["one", "two"])]
    assert lines == [
        ("packet", 0, 0, ""),
        ("r1 = 1 ll", 0, 2, "one"),
        ("exit", 2, 1, "one"),
        ("LBB0_1", 3, 0, "one"),
        ("ld_pseudo r1, 2, 1", 3, 2, "two"),
    ]
