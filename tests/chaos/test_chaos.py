# SPDX-License-Identifier: Apache-2.0
"""A few rounds of `make chaos`, of the commonest faults, always the same ones; and what its command line refuses."""

import subprocess
import sys

import pytest

ROUNDS = 4
SEED = "5"


def _chaos(*options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.chaos", *options]
    return subprocess.run(argv, capture_output=True, text=True, timeout=1200, check=False)


@pytest.mark.root
@pytest.mark.e2e
@pytest.mark.timeout(1200)
def test_the_commonest_faults_heal() -> None:
    done = _chaos("--rounds", str(ROUNDS), "--seed", SEED, "--common")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert done.stdout.startswith(f"seed {SEED}: {ROUNDS} rounds, engine auto, feed sqlite\n")
    assert "| fault | rounds |" in done.stdout
    assert done.stdout.endswith("\n0 violations\n")


def test_an_unknown_fault_is_refused() -> None:
    done = _chaos("--fault", "earthquake")
    assert done.returncode == 2
    assert "'earthquake' (valid: " in " ".join(done.stderr.replace("│", " ").split())
