# SPDX-License-Identifier: Apache-2.0
"""`make audit` with what pip-audit may say: what fails, what is passed over, and what is said but fails nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).parents[2] / "requirements" / "audit.py"
SOUND = {"name": "sound", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}
BROKEN = {
    "name": "broken",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": [], "description": ""}],
}


def audited(tmp_path: Path, *dependencies: Any, ignored: str = "") -> "subprocess.CompletedProcess[str]":
    """With a pip-audit that says this; with none of these it says nothing, as when the service is away."""
    said = json.dumps({"dependencies": dependencies, "fixes": []}) if dependencies else ""
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{said}\nE\necho 'no way there' >&2\nexit 1\n")
    program.chmod(0o755)
    (tmp_path / "audit.py").write_bytes(AUDIT.read_bytes())
    (tmp_path / "audit_ignored.toml").write_text(ignored)
    command = [sys.executable, tmp_path / "audit.py", program, "lock.txt"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_vulnerability_fails_and_says_what_to_do(tmp_path: Path) -> None:
    ended = audited(tmp_path, SOUND, BROKEN)
    assert ended.returncode == 1
    assert "lock.txt: broken 2.0 has PYSEC-1 (mended in 2.1)" in ended.stderr
    assert "audit_ignored.toml" in ended.stderr


def test_one_with_a_reason_is_passed_over_and_the_reason_said(tmp_path: Path) -> None:
    ended = audited(tmp_path, BROKEN, ignored='"PYSEC-1" = "never called here"')
    assert ended.returncode == 0
    assert "PYSEC-1 of broken 2.0 is passed over: never called here" in ended.stdout


@pytest.mark.parametrize(
    ("dependencies", "word"),
    [
        ([], "lock.txt: NOT AUDITED, the service does not answer: no way there"),
        ([UNKNOWN], "lock.txt: NOT AUDITED, the service knows none of its 1 packages"),
        ([SOUND, UNKNOWN], "lock.txt: 1 packages looked up; it does not know unknown"),
    ],
)
def test_what_nobody_knows_fails_nothing_and_is_said(
    tmp_path: Path, dependencies: list[Any], word: str
) -> None:
    ended = audited(tmp_path, *dependencies)
    assert ended.returncode == 0
    assert word in ended.stdout


def test_without_pip_audit_it_cannot_be_tried() -> None:
    ended = subprocess.run(
        [sys.executable, AUDIT, "/nowhere/pip-audit", "lock.txt"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (2, "audit: /nowhere/pip-audit: No such file or directory\n")
