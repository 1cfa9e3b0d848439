# SPDX-License-Identifier: Apache-2.0
"""Which tests there are, read from their source: ptf itself would need seconds and the tests' environment to say it."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


class UnknownTestError(Exception):
    """No test, file or group has this name; the message says what there is."""


@dataclass(frozen=True)
class Test:
    """One test class. `bench` is the group that says which switches it needs."""

    module: str
    name: str
    groups: frozenset[str]
    summary: str

    @property
    def full_name(self) -> str:
        """As ptf and its reports call it."""
        return f"{self.module}.{self.name}"

    @property
    def bench(self) -> str:
        """The bench that it runs on."""
        (bench,) = self.groups & {"host", "guest", "chain"}
        return bench


def read(directory: Path) -> list[Test]:
    """All tests of a directory: the classes with a @group."""
    return [test for path in sorted(directory.glob("*.py")) for test in _of_module(path)]


def select(tests: Iterable[Test], names: Iterable[str]) -> list[Test]:
    """The tests with one of these names: of the class, `file.Class`, the file, or a group. All where none is given.
    Raises UnknownTestError."""
    tests, names = list(tests), list(names)
    for name in names:
        if not any(_is_called(test, name) for test in tests):
            raise UnknownTestError(_unknown(tests, name))
    return [test for test in tests if not names or any(_is_called(test, name) for name in names)]


def _is_called(test: Test, name: str) -> bool:
    return name in {test.name, test.full_name, test.module} | test.groups


def _unknown(tests: list[Test], name: str) -> str:
    groups = sorted({group for test in tests for group in test.groups} | {test.module for test in tests})
    near = difflib.get_close_matches(name, [test.name for test in tests], n=3)
    nearest = f"tests like it: {', '.join(near)}; " if near else ""
    return f"no test, file or group is called {name!r} ({nearest}files and groups: {', '.join(groups)})"


def _of_module(path: Path) -> list[Test]:
    classes = {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)}
    return [
        Test(path.stem, name, groups, _summary(node, classes))
        for name, node in classes.items()
        if (groups := frozenset(_groups(node)))
    ]


def _groups(node: ast.ClassDef) -> list[str]:
    return [
        str(decorator.args[0].value)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Name)
        and decorator.func.id == "group"
        and isinstance(decorator.args[0], ast.Constant)
    ]


def _summary(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> str:
    """The class's docstring, else that of the class of this file that it takes its `runTest` from."""
    bases = [classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes]
    text = next((found for each in (node, *bases) if (found := ast.get_docstring(each))), "")
    return " ".join(text.split())
