# SPDX-License-Identifier: Apache-2.0
"""Logs: who is shown at which level, in which form; and names of events that stay."""

import ast
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hvchannel_telemetry import logs

ROOT = Path(__file__).parents[2]
FOLDERS = ("telemetry", "privilege", "softswitch", "control", "daemons", "lab")
_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The process's logging is as before afterwards."""
    root, before = logging.getLogger(), list(logging.getLogger().handlers)
    level = root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)
    for name in ("ours", "ours.part"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_a_line_is_one_json_object_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", None, ("ours",))
    structlog.get_logger("ours.part").info("document_sent", vif="vm1", key="net", revision=3)
    structlog.get_logger("ours.part").debug("unseen")
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert said.pop("timestamp").endswith("Z")
    assert said == {"event": "document_sent", "level": "info", "vif": "vm1", "key": "net", "revision": 3}


def test_fields_of_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    known = {"vif": "vm1"}
    logs.set_up("info", True, ("ours",), always=lambda: known)
    structlog.get_logger("ours").info("one")
    known["vif"] = "vm2"
    structlog.get_logger("ours").info("two", vif="vm3")
    logging.getLogger("library").warning("three")
    assert [json.loads(line)["vif"] for line in capsys.readouterr().err.splitlines()] == ["vm1", "vm3", "vm2"]


def test_of_libraries_only_warnings_are_shown_at_any_level(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("debug", True, ("ours",))
    logging.getLogger("library").debug("password=%s", "hunter2")
    logging.getLogger("library").warning("trouble with %s", "it")
    structlog.get_logger("ours").debug("seen")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == [
        "trouble with it",
        "seen",
    ]


def test_a_live_view_may_take_the_place_of_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.set_up("info", True, ("ours",))
    other = io.StringIO()
    monkeypatch.setattr(sys, "stderr", other)
    structlog.get_logger("ours").info("here")
    assert not capsys.readouterr().err
    assert '"here"' in other.getvalue()


def test_a_level_that_is_not_known_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"^log level 'loud' is not known \(valid: debug, info, warning, error\)$"
    ):
        logs.set_up("loud", None, ("ours",))


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_of_events_are_snake_case(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {event!r}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, event in _events(ast.parse(path.read_text()))
        if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", event)
    ]
    assert not wrong, "\n".join(wrong)


def _events(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The first argument of each call of a method of a logger, if it is a literal or a choice between two."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        if node.func.attr not in _METHODS or not ast.unparse(node.func.value).endswith("log"):
            continue
        first = node.args[0]
        choices = (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,)
        for choice in choices:
            if isinstance(choice, ast.Constant) and isinstance(choice.value, str):
                yield node.lineno, choice.value
