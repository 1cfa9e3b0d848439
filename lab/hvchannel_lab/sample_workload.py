# SPDX-License-Identifier: Apache-2.0
"""A local program in a VM, as a user of the channel would write one: takes each document and reports what it
got.

It knows guestd's unix socket and nothing else: no vSwitch, no address. Its answer to a document is a report
of type "sample/received", about that document, with its size and SHA-256 as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import sys
import time
from pathlib import Path

from hvchannel_daemons.guestd.client import GuestClient, GuestClientError

REPORT_TYPE = "sample/received"
_RETRY = 0.2  # seconds between two attempts to reach guestd


def answer(name: str, key: str, revision: int, content: bytes) -> bytes:
    """What this program says of a document: from the bytes it holds, not from what it was told of them."""
    said = {
        "by": name,
        "key": key,
        "revision": revision,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return json.dumps(said).encode()


def serve(client: GuestClient, name: str, answered: dict[str, int]) -> None:
    """Answers all but the revisions in `answered`, to which it adds. Raises GuestClientError."""
    for change in client.watch():
        if change.document is None or answered.get(change.key) == change.revision:
            continue
        revision, content = change.revision, change.content
        if content is None:  # too large to come with the event
            document, content = client.get(change.key)
            revision = document.revision
        client.report(
            REPORT_TYPE,
            answer(name, change.key, revision, content),
            content_type="application/json",
            about_key=change.key,
            about_revision=revision,
        )
        answered[change.key] = revision
        print(f"{change.key} revision {revision}: {len(content)} bytes", flush=True)


def main() -> None:
    """Until SIGTERM or SIGINT, which end it with status 0; over restarts of guestd."""
    parser = argparse.ArgumentParser(description="Answers every document that guestd hands out.")
    parser.add_argument("--socket", required=True, type=Path, help="guestd's unix socket")
    parser.add_argument("--name", required=True, help="what the answers are signed with")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    answered: dict[str, int] = {}
    while True:
        try:
            with GuestClient(arguments.socket) as client:
                serve(client, arguments.name, answered)
        except GuestClientError as error:
            print(f"{error}; trying again", file=sys.stderr, flush=True)
        time.sleep(_RETRY)


if __name__ == "__main__":
    main()
