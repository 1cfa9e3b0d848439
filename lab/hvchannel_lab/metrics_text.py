# SPDX-License-Identifier: Apache-2.0
"""The metrics of several processes as one text, told apart by a label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families


def together(texts: Mapping[str, str]) -> str:
    """The samples of all texts, each with the label `process`: its text's key. Each metric's are side by side, as the
    format has it. Raises ValueError for what is not in it."""
    families: dict[str, Metric] = {}
    for process, text in texts.items():
        for family in text_string_to_metric_families(text):
            whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                whole.samples.append(sample._replace(labels={"process": process, **sample.labels}))
    return generate_latest(_Families(families.values())).decode()


class _Families(CollectorRegistry):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """They."""
        return self._families
