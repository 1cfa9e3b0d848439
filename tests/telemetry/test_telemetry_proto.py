# SPDX-License-Identifier: Apache-2.0
"""The generated stubs are those of process.proto as it is."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2] / "telemetry"
FOLDER = Path("hvchannel_telemetry")


def test_the_stubs_have_not_drifted_from_the_proto(tmp_path: Path) -> None:
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I", ROOT, ROOT / FOLDER / "process.proto", *outputs],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        check=True,
        capture_output=True,
    )
    generated = {path.name: path.read_text() for path in (tmp_path / FOLDER).iterdir()}
    assert len(generated) == 4
    committed = {name: (ROOT / FOLDER / name).read_text() for name in generated}
    assert generated == committed
