# SPDX-License-Identifier: Apache-2.0
"""The other end of a veth, which is usually in another network namespace: found, and reached.

A namespace has no name of its own. This one knows that of the peer by a number, which the kernel tells for any
namespace we hold a descriptor of; so those that something on this machine holds are tried: /run/netns, then processes.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hvchannel_softswitch.xdp.interfaces import Interface, Interfaces

_NAMED = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Peer:
    """`name`: of the interface, in the namespace that a person knows as `namespace` ("" for this one, a path of
    /run/netns or /proc otherwise). `socket`: any one of that namespace, to be closed by who asked; None when no way
    leads there."""

    name: str
    namespace: str
    socket: socket.socket | None


KnownNamespaces = dict[int, Path]
"""A path to each namespace that was come across, by its number here. Only a hint: names are given anew."""


def find_peer(
    interfaces: Interfaces, interface: Interface, known: KnownNamespaces | None = None
) -> Peer | None:
    """The other end of a veth; None when `interface` is none, or has lost it. `known` is used and added to: without it
    every call looks at every namespace of the machine. Raises OSError."""
    if interface.peer is None:
        return None
    other = interfaces.at(interface.peer, namespace=interface.peer_namespace)
    if other is None:
        return None
    if interface.peer_namespace is None:
        return Peer(other.name, "", plain_socket())
    wanted, known = interface.peer_namespace, {} if known is None else known
    for looked_at in (_hinted, _unknown, _all):
        for path in looked_at(wanted, known):
            with suppress(OSError), _opened(path) as descriptor:
                number = interfaces.namespace_id(descriptor)
                if number is not None:
                    known[number] = path
                if number == wanted:
                    return Peer(other.name, str(path), _socket_inside(descriptor))
    return Peer(other.name, f"the one that `ip netns list-id` shows as nsid {interface.peer_namespace}", None)


def _hinted(wanted: int, known: KnownNamespaces) -> Iterator[Path]:
    if (path := known.pop(wanted, None)) is not None:
        yield path


def _unknown(_: int, known: KnownNamespaces) -> Iterator[Path]:
    seen = set(known.values())
    return (path for path in _namespaces() if path not in seen)


def _all(_: int, __: KnownNamespaces) -> Iterator[Path]:
    return _namespaces()


def _namespaces() -> Iterator[Path]:
    """A path to each namespace that is in sight, each once."""
    seen: set[int] = set()
    for path in _handles():
        with suppress(OSError):
            number = path.stat().st_ino
            if number not in seen:
                seen.add(number)
                yield path


def _handles() -> Iterator[Path]:
    with suppress(FileNotFoundError):
        yield from _NAMED.iterdir()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            yield process / "ns/net"


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def plain_socket() -> socket.socket:
    """Any socket of the calling thread's namespace, as ioctls on interfaces go through one. Raises OSError."""
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


def _socket_inside(descriptor: int) -> socket.socket:
    """Made by a thread that enters the namespace and ends there: ours never has to find its way back."""
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def make() -> None:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            failed.append(OSError(code, f"setns: {os.strerror(code)}"))
        else:
            made.append(plain_socket())

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
