#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles both vSwitch programs into `p4src/compiled/`: bmv2 JSON, P4Info and a manifest.

The manifest holds the SHA-256 of every source and of every artefact, and the compiler's version, so that a test can
tell without a compiler when they have drifted apart. Uses p4c-bm2-ss where it is on PATH, else the official p4c
container through docker or podman. A warning is an error. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMPILED = HERE / "compiled"
MANIFEST = COMPILED / "manifest.json"
PROGRAMS = ("host_vswitch", "guest_vswitch")
ARCHITECTURE = "v1model"
IMAGE = "docker.io/p4lang/p4c:stable"


def sources() -> list[Path]:
    """Every P4 file the programs are made of, sorted."""
    return sorted(
        path for folder in ("include", "stages", ARCHITECTURE) for path in (HERE / folder).glob("*.p4")
    )


def artefacts() -> list[Path]:
    """The files that the compiler makes, sorted."""
    return sorted(
        COMPILED / f"{program}{suffix}" for program in PROGRAMS for suffix in (".json", ".p4info.txtpb")
    )


def digests(paths: list[Path]) -> dict[str, str]:
    """SHA-256 in hex, by path relative to `p4src/`."""
    return {
        path.relative_to(HERE).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }


def compiler() -> list[str]:
    """The command that runs p4c-bm2-ss with `p4src/` as its working directory; exits where there is none."""
    if shutil.which("p4c-bm2-ss"):
        return ["p4c-bm2-ss"]
    for engine in ("docker", "podman"):
        if shutil.which(engine):
            user = f"{os.getuid()}:{os.getgid()}"
            return [
                engine,
                "run",
                "--rm",
                "-v",
                f"{HERE}:/p4src",
                "-w",
                "/p4src",
                "-u",
                user,
                IMAGE,
                "p4c-bm2-ss",
            ]
    sys.exit("error: no P4 compiler: put p4c-bm2-ss on PATH, or install docker or podman to use " + IMAGE)


def compile_program(command: list[str], program: str) -> None:
    """Compiles one program; exits with p4c's own words where it refuses or warns."""
    out = f"compiled/{program}"
    arguments = [
        "--std",
        "p4-16",
        "--Werror",
        "-o",
        f"{out}.json",
        "--p4runtime-files",
        f"{out}.p4info.txtpb",
    ]
    result = subprocess.run(
        [*command, *arguments, f"{ARCHITECTURE}/{program}.p4"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0 or result.stderr.strip():
        sys.exit(f"error: {program}: p4c says:\n{result.stdout}{result.stderr}")
    portable(HERE / f"{out}.json")


def portable(artefact: Path) -> None:
    """Takes the compiler's own installation path out of the JSON: it differs from machine to machine."""
    text = artefact.read_text()
    artefact.write_text(re.sub(r'"filename" : "/[^"]*/p4include/', '"filename" : "p4include/', text))


def version(command: list[str]) -> str:
    """What the compiler calls itself, in one line."""
    result = subprocess.run([*command, "--version"], cwd=HERE, capture_output=True, text=True, check=True)
    found = re.search(r"Version\s+(.+)", result.stdout + result.stderr)
    return f"p4c-bm2-ss {found.group(1).strip()}" if found else "p4c-bm2-ss of unknown version"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    command = compiler()
    COMPILED.mkdir(exist_ok=True)
    for program in PROGRAMS:
        compile_program(command, program)
        print(f"compiled {ARCHITECTURE}/{program}.p4 -> compiled/{program}.json, .p4info.txtpb")
    manifest = {
        "compiler": version(command),
        "sources": digests(sources()),
        "artefacts": digests(artefacts()),
    }
    MANIFEST.write_text(json.dumps(manifest, indent=2) + "\n")
    print(f"wrote {MANIFEST.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
