# SPDX-License-Identifier: Apache-2.0
"""docs/metrics.md lists what the processes export, all of it and nothing else."""

import re
from pathlib import Path

import pytest
from hvchannel_telemetry.scrape import scrape
from prometheus_client.parser import text_string_to_metric_families

from .conftest import PROCESSES, Start

DOC = Path(__file__).parents[2] / "docs/metrics.md"
COMMON = "every process"

_ROW = re.compile(r"\| `(?P<name>\w+)` \| (?P<kind>\w+) \|(?P<labels>[^|]*)\|")


def documented(section: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels by name, of a section's table."""
    text = DOC.read_text()
    start = text.index(f"## {section}\n")
    end = text.find("\n## ", start)
    rows = _ROW.finditer(text[start : end if end > 0 else None])
    return {row["name"]: (row["kind"], frozenset(re.findall(r"`(\w+)`", row["labels"]))) for row in rows}


@pytest.mark.parametrize("process", PROCESSES)
def test_the_list_is_what_is_exported(process: str, start: Start) -> None:
    exported: dict[str, tuple[str, frozenset[str]]] = {}
    known = documented(process) | documented(COMMON)
    for family in text_string_to_metric_families(scrape(start(*PROCESSES[process]))):
        # the parser takes the suffixes off that the samples have
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        # of a family that has no sample yet the labels cannot be seen
        exported[name] = (
            family.type,
            frozenset(labels) if family.samples else known.get(name, ("", frozenset()))[1],
        )
    assert exported == known


def test_names_follow_prometheus_conventions() -> None:
    for process in PROCESSES:
        prefix = {"softswitch": "softswitch_", "hvchannel-control": "hvchannel_control_"}.get(
            process, f"hvchannel_{process}_"
        )
        for name, (kind, _) in documented(process).items():
            assert name.startswith(prefix)
            assert name.endswith("_total") == (kind == "counter"), name
            assert not re.search(r"_(ms|us|ns|kb|mib|percent)(_|$)", name), name
