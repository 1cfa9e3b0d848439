# SPDX-License-Identifier: Apache-2.0
"""Content of documents and reports in JSON: as `text` when it is UTF-8, else as `base64`."""

import base64
import sys
from pathlib import Path


def as_json(content: bytes) -> dict[str, str]:
    try:
        return {"text": content.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode("ascii")}


def from_argument(file: str) -> bytes:
    """Content of the file, or of stdin for "-". Raises OSError."""
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
