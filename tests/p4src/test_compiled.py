# SPDX-License-Identifier: Apache-2.0
"""What lies in p4src/compiled is what p4c made of the sources beside it, and names no path of the machine it ran on."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

P4SRC = Path(__file__).parents[2] / "p4src"


def load_compile():
    spec = importlib.util.spec_from_file_location("p4src_compile", P4SRC / "compile.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


compile_py = load_compile()
TARGETS = {target.name: target for target in compile_py.TARGETS}
KEPT = [target for target in TARGETS.values() if target.kept]
each_target = pytest.mark.parametrize("target", KEPT, ids=lambda target: target.name)
each_json = pytest.mark.parametrize(
    "path",
    [path for target in TARGETS.values() for path in target.artefacts() if path.suffix == ".json"],
    ids=lambda path: path.relative_to(compile_py.COMPILED).as_posix(),
)


@pytest.fixture(scope="module")
def manifest():
    return json.loads(compile_py.MANIFEST.read_text())


@each_target
def test_sources_are_those_that_were_compiled(manifest, target):
    assert compile_py.digests(target.sources()) == manifest[target.name]["sources"], (
        "p4src changed: run make p4-all"
    )


@each_target
def test_artefacts_are_those_that_the_compiler_made(manifest, target):
    assert compile_py.digests(target.artefacts()) == manifest[target.name]["artefacts"], (
        "p4src/compiled changed: run make p4-all"
    )


@each_target
def test_manifest_names_the_compiler(manifest, target):
    assert manifest[target.name]["compiler"].startswith(f"{target.compiler} ")


def test_a_changed_source_would_be_noticed(manifest, tmp_path, monkeypatch):
    copy = tmp_path / "p4src"
    shutil.copytree(P4SRC, copy)
    monkeypatch.setattr(compile_py, "HERE", copy)
    with (copy / "stages" / "forward.p4").open("a") as source:
        source.write("\n")
    for target in KEPT:
        assert compile_py.digests(target.sources()) != manifest[target.name]["sources"]


@each_target
def test_what_a_present_compiler_makes_is_what_lies_there(target, tmp_path, monkeypatch, manifest):
    """Where p4c is at hand, and it is the one that made the artefacts."""
    command = compile_py.find_compiler(target)
    if command is None or len(command) > 1:
        pytest.skip(f"no {target.compiler} on PATH nor in {target.variable}")
    if compile_py.version(target, command) != manifest[target.name]["compiler"]:
        pytest.skip(f"this {target.compiler} is another version than the one that made the artefacts")
    copy = tmp_path / "p4src"
    shutil.copytree(P4SRC, copy)
    monkeypatch.setattr(compile_py, "HERE", copy)
    monkeypatch.setattr(compile_py, "COMPILED", copy / "compiled")
    for program in compile_py.PROGRAMS:
        compile_py.compile_program(target, command, program)
    assert compile_py.digests(target.artefacts()) == manifest[target.name]["artefacts"]


def test_no_ifdef_in_a_stage():
    """What differs between architectures stands in the architecture's folder: the rest has include guards only."""
    neutral = [path for folder in ("stages", "include") for path in (P4SRC / folder).glob("*.p4")]
    assert neutral
    for path in neutral:
        directives = re.findall(r"^#(if\w*|el\w+) +(\w+)", path.read_text(), re.MULTILINE)
        guard = f"{path.stem.upper()}_P4"
        assert [words for words in directives if words[1] not in (guard, "IDENTIFIER_P4")] == [], path


@each_json
def test_no_absolute_path_in_the_json(path):
    def strings(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "filename":
                    yield value
                yield from strings(value)
        elif isinstance(node, list):
            for value in node:
                yield from strings(value)

    assert [name for name in strings(json.loads(path.read_text())) if name.startswith("/")] == []


@each_json
def test_every_default_action_is_const(path):
    """Everything that is not permitted is dropped, and no controller can change that."""
    for pipeline in json.loads(path.read_text())["pipelines"]:
        for table in pipeline["tables"]:
            default = table["default_entry"]
            assert default["action_const"] and default["action_entry_const"], table["name"]


def test_no_sources_of_one_architecture_in_another():
    """Each target's folders are its own, but for PNA's two compilers."""
    for target in TARGETS.values():
        found = {path.parent.relative_to(P4SRC).as_posix() for path in target.sources()}
        assert found == {*target.folders, "stages", "include"}


def test_a_compiler_is_named_by_the_environment(monkeypatch, tmp_path):
    compiler = tmp_path / "my-p4c"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("P4C_BM2_PNA", str(compiler))
    assert compile_py.find_compiler(TARGETS["pna"]) == [str(compiler)]


def test_a_named_compiler_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("P4C_BM2_PNA", str(tmp_path / "gone"))
    with pytest.raises(SystemExit, match=r"error: P4C_BM2_PNA=.*/gone is not a program"):
        compile_py.find_compiler(TARGETS["pna"])


def test_what_is_not_here_is_skipped_by_name(monkeypatch, capsys):
    for target in TARGETS.values():
        monkeypatch.delenv(target.variable, raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["compile.py", "--all"])
    assert compile_py.main() == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(TARGETS)
    for line, target in zip(said, TARGETS.values(), strict=True):
        assert line.startswith(f"{target.name:<8} skipped: no {target.compiler}: ")


def test_what_is_not_here_and_was_asked_for_is_a_failure(monkeypatch, capsys):
    monkeypatch.delenv("P4C_BM2_PNA", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["compile.py", "--target", "pna"])
    assert compile_py.main() == 1
    assert "no p4c-bm2-pna: put it on PATH or name it in P4C_BM2_PNA" in capsys.readouterr().out
