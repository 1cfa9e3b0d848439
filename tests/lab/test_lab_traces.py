# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path
from typing import Any

from hvchannel_lab import traces


def packet(number: int, frame: bytes, *out: tuple[int, bytes]) -> dict[str, Any]:
    """As the vSwitch's trace writes it (softswitch, `trace`)."""
    return {
        "packet": number,
        "time_ns": 1000 + number,
        "port": 1,
        "frame": frame.hex(),
        "steps": [
            {"state": "start"},
            {
                "table": "ingress.forward",
                "key": {"vni": 5001},
                "hit": True,
                "entry": {"vni": "0x1389"},
                "action": "ingress.to_port",
                "args": {"port": 2},
            },
        ],
        "verdict": "sent" if out else "dropped",
        "out": [{"port": port, "frame": sent.hex()} for port, sent in out],
    }


def write(path: Path, *packets: dict[str, Any], cut: int = 0) -> None:
    text = "".join(json.dumps(one) + "\n" for one in packets)
    path.write_text(text[: len(text) - cut])


def test_what_was_written_is_read_with_names_that_stand_alone(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    write(path, packet(7, b"in", (2, b"out")))
    (record,) = traces.read(path)
    assert (record.number, record.time_ns, record.port, record.frame) == (7, 1007, 1, b"in")
    assert record.outputs == ((2, b"out"),)
    assert not record.dropped
    assert record.lookup("forward") == traces.Lookup("forward", {"vni": 5001}, True, "to_port", {"port": 2})
    assert record.lookup("member") is None


def test_a_frame_is_found_by_its_whole_bytes(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    write(path, packet(1, b"ab"), packet(2, b"abc", (2, b"ab")), packet(3, b"ab"))
    assert [record.number for record in traces.read(path, b"ab")] == [1, 3]
    assert all(record.dropped for record in traces.read(path, b"ab"))


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    for cut in (1, 20):
        write(path, packet(1, b"a"), packet(2, b"b"), cut=cut)
        assert [record.number for record in traces.read(path)] == [1]
