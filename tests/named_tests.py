# SPDX-License-Identifier: Apache-2.0
"""Tests that a page of docs/ names, as evidence: that they exist."""

import ast
from pathlib import Path


def named_in(file: Path) -> set[str]:
    """The functions of a test file, and the members of its classes as `Class::member`. Raises OSError."""
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {
                node.name,
                *(f"{node.name}::{inner.name}" for inner in node.body if hasattr(inner, "name")),
            }
    return names
