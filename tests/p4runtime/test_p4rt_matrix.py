# SPDX-License-Identifier: Apache-2.0
"""The compliance matrix in docs/p4runtime.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.named_tests import named_in

_HERE = Path(__file__).parent
_MATRIX = _HERE.parents[1] / "docs" / "p4runtime.md"


def _rows() -> list[list[str]]:
    lines = [line for line in _MATRIX.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in rows if row[0] != "requirement"]


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row[0])
def test_the_row_names_a_test_that_exists(row):
    assert len(row) == 4, "requirement, softswitch, proved by, simple_switch_grpc"
    named = re.fullmatch(r"`(test_\w+\.py)::([\w:]+)`", row[2])
    assert named, row[2]
    assert named[2] in named_in(_HERE / named[1])
    assert re.search(r"\((run|source)\)$", row[3]) or row[3] == "not compared", row[3]


def test_there_are_rows():
    text = _MATRIX.read_text(encoding="utf-8")
    assert f"({len(_rows())} rows)" in text
