# SPDX-License-Identifier: Apache-2.0
"""docs/security.md names tests that exist, and every row of it names one."""

import re
from pathlib import Path

import pytest

from tests.named_tests import named_in

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
SECTIONS = ["Assets", "Trust boundaries", "Frames on a VNIC", "The protocol", "Local surfaces"]
TEST = re.compile(r"`((?:tests|ptf-tests)/[\w/-]+\.py)::([\w:]+)`")


def attacks() -> list[list[str]]:
    """The rows of the tables of attacks: attack, what stops it, tests."""
    found, inside = [], False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        row = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if inside and line.startswith("| "):
            found.append(row)
        inside = line.startswith("|") and (inside or row[0] == "attack")
    return found


def test_the_page_has_its_sections():
    found = re.findall(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [title for title in found if title in SECTIONS] == SECTIONS


@pytest.mark.parametrize("row", attacks(), ids=lambda row: row[0])
def test_each_attack_names_what_stops_it_and_a_test(row):
    assert len(row) == 3, "attack, what stops it, tests"
    assert row[1]
    assert TEST.search(row[2]), row[2]


def test_every_test_that_the_page_names_exists():
    for file, name in TEST.findall(PAGE.read_text(encoding="utf-8")):
        assert name in named_in(ROOT / file), f"{file}::{name}"
