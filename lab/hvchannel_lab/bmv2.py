# SPDX-License-Identifier: Apache-2.0
"""p4lang's simple_switch_grpc as a lab runs it: the program of PATH, else the official image by docker or
podman.

In a container it must still see the lab's own network namespace and state directory. Both are mounted; the
program enters the namespace by nsenter(1), since an engine with a daemon (docker) starts containers from a
namespace of its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from hvchannel_lab.namespaces import NAMESPACES

PROGRAM = "simple_switch_grpc"
IMAGE_VARIABLE = "HVCHANNEL_BMV2_IMAGE"
IMAGE = "docker.io/p4lang/behavioral-model:latest"
"""Of p4lang's own project; the same in containers/compose.yaml and ptf-tests/runner/targets.py."""

_ENGINES = ("docker", "podman")


def command(namespace: str, folder: Path, arguments: Sequence[str]) -> list[str]:
    """What starts it in the calling process's namespace, which is `namespace`. `folder`: where its socket is.

    Raises FileNotFoundError when there is neither the program nor a container engine.
    """
    found = shutil.which(PROGRAM)
    if found:
        return [found, *arguments]
    engine = next((path for name in _ENGINES if (path := shutil.which(name))), None)
    if engine is None:
        raise FileNotFoundError(
            f"target bmv2: neither {PROGRAM} nor one of {', '.join(_ENGINES)} (for p4lang's image) is on PATH"
        )
    return [*_run(engine, namespace, folder), PROGRAM, *arguments]


def _run(engine: str, namespace: str, folder: Path) -> list[str]:
    image = os.environ.get(IMAGE_VARIABLE, IMAGE)
    inside = f"/run/{namespace}"
    return [
        *(
            engine,
            "run",
            "--rm",
            "--init",
            "--network",
            "none",
            "--label",
            f"hvchannel.namespace={namespace}",
        ),
        *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW"),
        *("--security-opt", "apparmor=unconfined"),
        *("--volume", f"{NAMESPACES / namespace}:{inside}", "--volume", f"{folder}:{folder}"),
        *("--entrypoint", "nsenter", image, f"--net={inside}", "--"),
    ]
