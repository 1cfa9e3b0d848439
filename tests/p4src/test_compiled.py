# SPDX-License-Identifier: Apache-2.0
"""What lies in p4src/compiled is what p4c made of the sources beside it, and names no path of the machine it ran on."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

P4SRC = Path(__file__).parents[2] / "p4src"


def load_compile():
    spec = importlib.util.spec_from_file_location("p4src_compile", P4SRC / "compile.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compile_py = load_compile()


@pytest.fixture(scope="module")
def manifest():
    return json.loads(compile_py.MANIFEST.read_text())


def test_sources_are_those_that_were_compiled(manifest):
    assert compile_py.digests(compile_py.sources()) == manifest["sources"], "p4src changed: run make p4"


def test_artefacts_are_those_that_the_compiler_made(manifest):
    assert compile_py.digests(compile_py.artefacts()) == manifest["artefacts"], (
        "p4src/compiled changed: run make p4"
    )


def test_manifest_names_the_compiler(manifest):
    assert manifest["compiler"].startswith("p4c-bm2-ss 1.")


def test_a_changed_source_would_be_noticed(manifest, tmp_path, monkeypatch):
    copy = tmp_path / "p4src"
    shutil.copytree(P4SRC, copy)
    monkeypatch.setattr(compile_py, "HERE", copy)
    with (copy / "stages" / "forward.p4").open("a") as source:
        source.write("\n")
    assert compile_py.digests(compile_py.sources()) != manifest["sources"]


@pytest.mark.parametrize("program", compile_py.PROGRAMS)
def test_no_absolute_path_in_the_json(program):
    document = json.loads((compile_py.COMPILED / f"{program}.json").read_text())

    def strings(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "filename":
                    yield value
                yield from strings(value)
        elif isinstance(node, list):
            for value in node:
                yield from strings(value)

    assert [name for name in strings(document) if name.startswith("/")] == []


@pytest.mark.parametrize("program", compile_py.PROGRAMS)
def test_every_default_action_is_const(program):
    """Everything that is not permitted is dropped, and no controller can change that."""
    document = json.loads((compile_py.COMPILED / f"{program}.json").read_text())
    for pipeline in document["pipelines"]:
        for table in pipeline["tables"]:
            default = table["default_entry"]
            assert default["action_const"] and default["action_entry_const"], table["name"]
