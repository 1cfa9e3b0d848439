# SPDX-License-Identifier: Apache-2.0
"""The limits that channel.proto declares, and the checks both ends make before they believe anything.

Every check raises ValueError with one line that names the offender and what would be valid.
"""

import re
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

DOCUMENT_BYTES: Final = 64 * MIB
PIECE_BYTES: Final = 256 * KIB
REPORT_BYTES: Final = 1 * MIB
MESSAGE_BYTES: Final = 2 * MIB
KEY_BYTES: Final = 256
CONTENT_TYPE_BYTES: Final = 128
REPORT_TYPE_BYTES: Final = 128
LIVE_DOCUMENTS: Final = 16384
INVENTORY_PART: Final = 1024
ACKS_TOGETHER: Final = 1024
INLINE_BYTES: Final = 1 * MIB
QUEUED_REPORTS: Final = 10_000
QUEUED_REPORT_BYTES: Final = 64 * MIB
GROUP_DOCUMENTS: Final = 64  # of one put
GROUP_MEMBERS: Final = 256  # of one group on the channel, which may carry what came after a put along
GROUP_BYTES: Final = 64 * MIB
REVISION_MAX: Final = 2**63 - 1  # what SQLite and JSON readers alike can hold
REVISION_LEAP: Final = 2**32
"""A guest holds one beyond the feed's newest only where the feed was restored from an old copy; not by so many."""

_NAME = re.compile(r"[A-Za-z0-9._/-]+")
_VIF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ORIGIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CONTENT_TYPE = re.compile(r"[ -~]*")


def _shown(text: str) -> str:
    """A hostile peer chooses this text: bounded and escaped before it reaches a log or a terminal."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def check_key(key: str) -> str:
    """Returns the key; ValueError when it is not 1 to 256 bytes of [A-Za-z0-9._/-]."""
    if len(key) > KEY_BYTES or not _NAME.fullmatch(key):
        raise ValueError(
            f"key {_shown(key)} is not valid (valid: 1 to {KEY_BYTES} characters of A-Z a-z 0-9 . _ / -)"
        )
    return key


def check_vif(vif: str) -> str:
    """Returns the VIF id; ValueError when it is not what control.proto allows."""
    if not _VIF.fullmatch(vif):
        raise ValueError(
            f"VIF id {_shown(vif)} is not valid "
            "(valid: 1 to 63 characters of A-Z a-z 0-9 . _ -, first a letter or digit)"
        )
    return vif


def check_host(host: str) -> str:
    """Returns the hypervisor's name; ValueError when it is not like a VIF id."""
    if not _VIF.fullmatch(host):
        raise ValueError(
            f"host {_shown(host)} is not valid "
            "(valid: 1 to 63 characters of A-Z a-z 0-9 . _ -, first a letter or digit)"
        )
    return host


def check_origin(origin: str) -> str:
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(
            f"origin {_shown(origin)} is not valid (valid: 1 to 64 characters of A-Z a-z 0-9 . _ -)"
        )
    return origin


def check_content_type(content_type: str) -> str:
    if len(content_type) > CONTENT_TYPE_BYTES or not _CONTENT_TYPE.fullmatch(content_type):
        raise ValueError(
            f"content type {_shown(content_type)} is not valid "
            f"(valid: at most {CONTENT_TYPE_BYTES} characters of printable ASCII, such as application/json)"
        )
    return content_type


def check_size(size: int) -> int:
    if size > DOCUMENT_BYTES:
        raise ValueError(f"document of {size} bytes is too large (at most {DOCUMENT_BYTES} bytes)")
    return size


def check_revision(revision: int) -> int:
    if not 1 <= revision <= REVISION_MAX:
        raise ValueError(f"revision {revision} is not valid (valid: 1 to {REVISION_MAX})")
    return revision


def check_held(key: str, held: int, newest: int) -> int:
    """Returns the revision that a guest says it holds of a key whose newest is that; ValueError when it cannot be. The
    next put goes beyond what the guest says: a lie must not use up all revisions there are."""
    if held > newest + REVISION_LEAP:
        raise ValueError(f"revision {held} of {_shown(key)} cannot be held: {newest} is the newest there is")
    return held


def check_report(report_type: str, content_type: str, size: int, about_key: str) -> None:
    """Raises ValueError when a report with these fields and `size` bytes of data is not valid."""
    if len(report_type) > REPORT_TYPE_BYTES or not _NAME.fullmatch(report_type):
        raise ValueError(
            f"report type {_shown(report_type)} is not valid "
            f"(valid: 1 to {REPORT_TYPE_BYTES} characters of A-Z a-z 0-9 . _ / -)"
        )
    check_content_type(content_type)
    if size > REPORT_BYTES:
        raise ValueError(f"report of {size} bytes is too large (at most {REPORT_BYTES} bytes)")
    if about_key:
        check_key(about_key)
