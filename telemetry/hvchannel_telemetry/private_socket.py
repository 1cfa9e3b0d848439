# SPDX-License-Identifier: Apache-2.0
"""A unix socket on which a process answers its owner, and nobody else: mode 0600, never open to others for a moment."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc

_PATH_BYTES: Final = 107
"""sockaddr_un's, less its final zero."""


class SocketError(Exception):
    """One line on why the process cannot listen there."""


def add_to(server: grpc.aio.Server, path: Path) -> None:
    """The server, not started yet, will listen there. Raises SocketError."""
    _make_way(path)
    with _private():
        try:
            server.add_insecure_port(f"unix:{path}")
            path.chmod(0o600)
        except (RuntimeError, OSError) as error:
            raise SocketError(f"cannot listen on {path}: {error}") from error


def bind(path: Path) -> socket.socket:
    """A socket that listens there, non-blocking. Raises SocketError."""
    _make_way(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with _private():
        try:
            listener.bind(os.fspath(path))
            listener.listen()
        except OSError as error:
            listener.close()
            raise SocketError(f"cannot listen on {path}: {error.strerror}") from error
    return listener


def _make_way(path: Path) -> None:
    """Makes the directory, of mode 0700, unless it is there, and takes a dead process's socket away."""
    if len(os.fsencode(path)) > _PATH_BYTES:
        raise SocketError(f"socket path {path} is longer than {_PATH_BYTES} bytes")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if _is_served(path):
            raise SocketError(f"socket {path} is served by another process")
        path.unlink(missing_ok=True)
    except OSError as error:
        raise SocketError(f"socket {path}: {error.strerror}") from error


def _is_served(path: Path) -> bool:
    if not path.exists():
        return False
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise SocketError(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


@contextmanager
def _private() -> Iterator[None]:
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)
