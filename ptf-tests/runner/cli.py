# SPDX-License-Identifier: Apache-2.0
"""The command line of the PTF suite."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from runner import catalogue, device, runs, targets
from runner.artefacts import artefacts

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT.parent / ".venv-ptf"
STATE = ROOT.parent / "state" / "ptf"
PASSED, FAILED, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 all passed, 1 not all did, 2 they could not be run as asked, 128 + number after a signal."""
    options = _parser().parse_args(arguments)
    try:
        tests = catalogue.select(catalogue.read(ROOT / "tests"), options.test)
        if options.list:
            _list(tests)
            return PASSED
        target = _target(options)
        if isinstance(target, device.Device):
            tests = target.tests(tests)
        _check_machine()
    except (
        catalogue.UnknownTestError,
        targets.TargetMissingError,
        device.DeviceError,
        _NotReadyError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    STATE.mkdir(parents=True, exist_ok=True)
    logs = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=STATE))
    return _run(tests, target, logs, keep=options.keep)


def _target(options: argparse.Namespace) -> runs.AnyTarget:
    if options.grpc_addr is None:
        for name in ("port_map", "bench", "p4info", "config"):
            if getattr(options, name) is not None:
                raise device.DeviceError(
                    f"--{name.replace('_', '-')} describes a device: give its --grpc-addr too"
                )
        return targets.find(
            options.target,
            engine=options.engine,
            arch=options.arch,
            switch=options.switch,
            image=options.image,
        )
    if options.port_map is None:
        raise device.DeviceError(
            "--grpc-addr: give the interfaces at the device's ports too, as --port-map 1=eth1,2=eth2"
        )
    bench = options.bench or "host"
    p4info, config = artefacts(options.arch, device.PROGRAMS[bench])
    return device.describe(
        bench,
        options.arch,
        options.grpc_addr,
        options.port_map,
        options.p4info or p4info,
        options.config or config,
    )


class _NotReadyError(Exception):
    """Something is missing on this machine; the message says what, and how to get it."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ptf-tests/run",
        description="The PTF tests of both P4 programs, alone and chained, on a P4Runtime target. Needs root.",
        epilog="Examples: ptf-tests/run --test arp    ptf-tests/run --arch pna --test chain --test HostForwardHit    "
        "ptf-tests/run --arch pna --grpc-addr 192.0.2.7:9559 --port-map 1=eth1,2=eth2,3=eth3",
    )
    parser.add_argument("--target", choices=targets.TARGETS, default="softswitch", help="default: softswitch")
    parser.add_argument(
        "--engine",
        choices=targets.ENGINES,
        default=targets.ENGINES[0],
        help="what softswitch runs the programs on; default: auto, the kernel (xdp) where it can",
    )
    parser.add_argument(
        "--arch",
        choices=targets.ARCHITECTURES,
        default="v1model",
        help="the architecture whose programs run; default: v1model",
    )
    parser.add_argument(
        "--test",
        action="append",
        default=[],
        metavar="NAME",
        help="a test class, a file, or a group (host, guest, chain, ...); repeatable",
    )
    parser.add_argument("--list", action="store_true", help="the tests, with their groups, and nothing else")
    parser.add_argument("--switch", metavar="PROGRAM", help="another build of the target's program")
    parser.add_argument("--image", help="bmv2 from this container image, even where it is installed")
    desk = parser.add_argument_group(
        "a device on the desk, whose P4Runtime server runs already (docs/ports.md)"
    )
    desk.add_argument("--grpc-addr", metavar="HOST:PORT", help="of that server; then no switch is started")
    desk.add_argument(
        "--port-map",
        metavar="PORT=INTERFACE,...",
        help="this machine's interface that is wired to each of its ports",
    )
    desk.add_argument(
        "--bench", choices=tuple(device.PROGRAMS), help="which program's tests it is to pass; default: host"
    )
    desk.add_argument(
        "--p4info", type=Path, help="of its program; default: that of p4src/compiled for --arch"
    )
    desk.add_argument(
        "--config", type=Path, help="what it is loaded with; default: the JSON beside that P4Info"
    )
    parser.add_argument("--keep", action="store_true", help="keep the logs also when all tests pass")
    return parser


def _check_machine() -> None:
    if not (ENVIRONMENT / "bin" / "ptf").exists():
        raise _NotReadyError(f"the tests' environment {ENVIRONMENT.name} is not there: make ptf builds it")
    for command, package in (("ip", "iproute2"), ("unshare", "util-linux"), ("setpriv", "util-linux")):
        if shutil.which(command) is None:
            raise _NotReadyError(f"the command {command} is not there: apt-get install {package}")
    if os.geteuid() != 0:
        raise _NotReadyError("network namespaces and packet sockets need root")


def _list(tests: Sequence[catalogue.Test]) -> None:
    for module in dict.fromkeys(test.module for test in tests):
        print(f"{module}.py")
        for test in tests:
            if test.module == module:
                print(f"  {test.name:<40} {', '.join(sorted(test.groups)):<18} {test.summary}")
    print(f"{len(tests)} tests")


def _run(tests: Sequence[catalogue.Test], target: runs.AnyTarget, logs: Path, *, keep: bool) -> int:
    started = time.monotonic()
    received: list[signal.Signals] = []
    try:
        results = asyncio.run(_until_signal(runs.run(tests, target, logs, ENVIRONMENT, _tell), received))
    except asyncio.CancelledError:
        print(f"stopped by {received[0].name}", file=sys.stderr)
        shutil.rmtree(logs)
        return 128 + received[0]
    failed = [result for result in results if result.problems]
    for result in failed:
        print(f"\n{result.test}:\n" + "\n".join(result.problems).rstrip())
    if failed or keep:
        print(f"\nlogs: {logs}")
    else:
        shutil.rmtree(logs)
    passed = len(results) - len(failed)
    print(f"{passed} passed, {len(failed)} failed ({target}, {time.monotonic() - started:.0f} s)")
    return FAILED if failed else PASSED


async def _until_signal(work: runs.Results, received: list[signal.Signals]) -> list[runs.Result]:
    task = asyncio.ensure_future(work)

    def stop(number: signal.Signals) -> None:
        received.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    return await task


def _tell(result: runs.Result) -> None:
    print(f"{'FAILED' if result.problems else 'ok':<6} {result.test:<60} {result.seconds:5.1f} s", flush=True)
