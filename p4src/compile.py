#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles both vSwitch programs for hardware's and software's architectures, into `p4src/compiled/`.

    p4src/compile.py                    the targets that softswitch and bmv2 run: v1model, pna (make p4)
    p4src/compile.py --all              every target whose compiler is here, and says which are not (make p4-all)
    p4src/compile.py --target dpdk      one target; repeatable

A target's compiler is the program of its name on PATH, or what the environment variable of that name says
(P4C_DPDK=/opt/p4c/build/p4c-dpdk); those of the bmv2 and DPDK backends also come from the official p4c container
through docker or podman, where one of these is installed. A warning is an error.

The manifest holds, per target, the SHA-256 of every source and of every artefact, and the compiler's version, so that
a test can tell without a compiler when they have drifted apart. Standard library only.
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
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMPILED = HERE / "compiled"
MANIFEST = COMPILED / "manifest.json"
PROGRAMS = ("host_vswitch", "guest_vswitch")
IMAGE = "docker.io/p4lang/p4c:stable"


@dataclass(frozen=True)
class Target:
    """One backend and what it is given. `folders` are searched for included files in order, before the neutral
    `stages/` and `include/`; the first that has the program's main is the architecture's."""

    name: str
    compiler: str
    folders: tuple[str, ...]
    arguments: tuple[str, ...]  # {out} is the artefact's path without a suffix
    kept: tuple[str, ...]  # suffixes of the artefacts that stay in the repository
    in_image: bool = True
    by_default: bool = False
    tolerated: str = r"(?!)"  # what the compiler may warn of

    @property
    def variable(self) -> str:
        """The environment variable that names the compiler."""
        return self.compiler.upper().replace("-", "_")

    @property
    def place(self) -> Path:
        """Where its artefacts go. v1model's lie at the top: they are what runs by default."""
        return COMPILED if self.name == "v1model" else COMPILED / self.name

    def main(self, program: str) -> Path:
        """The program's main, in the architecture's folder."""
        mains = [HERE / folder / f"{program}.p4" for folder in self.folders]
        return next(main for main in mains if main.exists())

    def sources(self) -> list[Path]:
        """Every P4 file that the target may be made of, sorted."""
        folders = (*self.folders, "stages", "include")
        return sorted(path for folder in folders for path in (HERE / folder).glob("*.p4"))

    def artefacts(self) -> list[Path]:
        """The files that stay in the repository, sorted."""
        return sorted(self.place / f"{program}{suffix}" for program in PROGRAMS for suffix in self.kept)


TARGETS = (
    Target(
        name="v1model",
        compiler="p4c-bm2-ss",
        folders=("v1model",),
        arguments=("--std", "p4-16", "-o", "{out}.json", "--p4runtime-files", "{out}.p4info.txtpb"),
        kept=(".json", ".p4info.txtpb"),
        by_default=True,
    ),
    Target(
        name="pna",
        compiler="p4c-bm2-pna",
        folders=("pna/bmv2", "pna"),
        arguments=(
            *("--std", "p4-16", "--arch", "pna"),
            *("-o", "{out}.json", "--p4runtime-files", "{out}.p4info.txtpb"),
        ),
        kept=(".json", ".p4info.txtpb"),
        by_default=True,
        # Its P4Info has them, its JSON has not (docs/ports.md).
        tolerated=r"Direct counter not used; ignoring",
    ),
    Target(
        name="psa",
        compiler="p4c-bm2-psa",
        folders=("psa",),
        arguments=(
            *("--std", "p4-16", "--arch", "psa"),
            *("-o", "{out}.json", "--p4runtime-files", "{out}.p4info.txtpb"),
        ),
        kept=(".p4info.txtpb",),  # nothing here runs its JSON
        tolerated=r"Direct counter not used; ignoring",
    ),
    Target(
        name="dpdk",
        compiler="p4c-dpdk",
        folders=("pna/dpdk", "pna"),
        arguments=(
            *("--std", "p4-16", "--arch", "pna"),
            *("-o", "{out}.spec", "--p4runtime-files", "{out}.p4info.txtpb"),
        ),
        kept=(
            ".spec",
            ".p4info.txtpb",
            *("_connection_guard.txtpb", "_verdict.txtpb", "_egress_verdict.txtpb"),
        ),
        # A key of header and metadata fields is copied to lie in one piece; nothing comes from a controller.
        tolerated=r"Mismatched header/metadata struct|SelectCase: unreachable case",
    ),
    Target(
        name="tofino",
        compiler="p4c-barefoot",
        folders=("tna",),
        arguments=("--std", "p4-16", "--target", "tofino", "--arch", "tna", "-o", "{out}"),
        kept=(),  # not yet compiled by anybody (docs/ports.md)
        in_image=False,
        # TNA's metadata begins as zero.
        tolerated=r"uninitialized-(use|out-param)|SelectCase: unreachable case",
    ),
)


class CompileError(Exception):
    """The compiler refused or warned; the message has its words."""


def digests(paths: list[Path]) -> dict[str, str]:
    """SHA-256 in hex, by path relative to `p4src/`."""
    return {
        path.relative_to(HERE).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }


def find_compiler(target: Target) -> list[str] | None:
    """The command that runs the target's compiler with `p4src/` as its working directory; None where there is none."""
    named = os.environ.get(target.variable)
    if named is not None:
        found = shutil.which(named)
        if found is None:
            sys.exit(f"error: {target.variable}={named} is not a program")
        return [found]
    if shutil.which(target.compiler):
        return [target.compiler]
    engine = next(filter(shutil.which, ("docker", "podman")), None)
    if engine is None or not target.in_image:
        return None
    user = f"{os.getuid()}:{os.getgid()}"
    mounted = ["-v", f"{HERE}:/p4src", "-w", "/p4src", "-u", user]
    return [engine, "run", "--rm", *mounted, IMAGE, target.compiler]


def compile_program(target: Target, command: list[str], program: str) -> None:
    """Compiles one program. Raises CompileError."""
    target.place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HERE, prefix=".compile-") as scratch:
        out = Path(scratch).relative_to(HERE) / program
        searched = [part for folder in (*target.folders, "stages", "include") for part in ("-I", folder)]
        arguments = [argument.format(out=out) for argument in target.arguments]
        result = subprocess.run(
            [*command, *arguments, *searched, str(target.main(program).relative_to(HERE))],
            cwd=HERE,
            capture_output=True,
            text=True,
            check=False,
        )
        said = result.stdout + result.stderr
        warnings = [line for line in said.splitlines() if re.search(r"(warning|error):", line)]
        if result.returncode != 0 or any(not re.search(target.tolerated, line) for line in warnings):
            raise CompileError(f"{target.name}: {program}: {target.compiler} says:\n{said}")
        for suffix in target.kept:
            # p4c-dpdk writes the entries of const tables beside no output, but where it runs: as `_TABLE.txtpb`.
            made = HERE / suffix if suffix.startswith("_") else HERE / f"{out}{suffix}"
            portable(made)
            shutil.move(made, target.place / f"{program}{suffix}")


def portable(artefact: Path) -> None:
    """Takes the compiler's own installation path out of a JSON: it differs from machine to machine."""
    text = artefact.read_text()
    artefact.write_text(re.sub(r'"filename" : "/[^"]*/p4include/', '"filename" : "p4include/', text))


def version(target: Target, command: list[str]) -> str:
    """What the compiler calls itself, in one line."""
    result = subprocess.run([*command, "--version"], cwd=HERE, capture_output=True, text=True, check=False)
    found = re.search(r"Version:?\s+(.+)", result.stdout + result.stderr, re.IGNORECASE)
    return f"{target.compiler} {found.group(1).strip()}" if found else f"{target.compiler} of unknown version"


def compile_target(target: Target, command: list[str]) -> None:
    """Compiles both programs and notes it in the manifest. Raises CompileError."""
    for program in PROGRAMS:
        compile_program(target, command, program)
        main = target.main(program).relative_to(HERE.parent)
        print(f"{target.name}: compiled {main} -> {', '.join(target.kept) or 'nothing kept'}", flush=True)
    if not target.kept:
        return
    manifest = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    manifest[target.name] = {
        "compiler": version(target, command),
        "sources": digests(target.sources()),
        "artefacts": digests(target.artefacts()),
    }
    ordered = {known.name: manifest[known.name] for known in TARGETS if known.name in manifest}
    MANIFEST.write_text(json.dumps(ordered, indent=2) + "\n")


def main() -> int:
    """Exit code 0; 1 where a program does not compile or a wanted compiler is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="every target whose compiler is here")
    which.add_argument(
        "--target", action="append", choices=[target.name for target in TARGETS], help="this one; repeatable"
    )
    arguments = parser.parse_args()
    names = arguments.target or [target.name for target in TARGETS if arguments.all or target.by_default]
    outcome, failed = [], False
    for target in (target for target in TARGETS if target.name in names):
        command = find_compiler(target)
        if command is None:
            image = f", or docker or podman for {IMAGE}" if target.in_image else ""
            missing = f"no {target.compiler}: put it on PATH or name it in {target.variable}{image}"
            outcome.append(f"{target.name:<8} skipped: {missing}")
            failed |= not arguments.all
            continue
        try:
            compile_target(target, command)
        except CompileError as error:
            print(f"error: {error}", file=sys.stderr)
            outcome.append(f"{target.name:<8} FAILED")
            failed = True
        else:
            outcome.append(f"{target.name:<8} compiled by {version(target, command)}")
    print("\n".join(outcome))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
