# SPDX-License-Identifier: Apache-2.0
"""A process that runs the program of test_xdp_replicas on p1 to p4, says so, and waits to be ended.

python -m tests.softswitch.multicaster NAME RUN_DIRECTORY BPFFS
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from finsy.proto import p4i, p4r
from google.protobuf import text_format
from hvchannel_softswitch.p4runtime.device import SwitchDevice
from hvchannel_softswitch.p4runtime.pipeline import build_pipeline
from hvchannel_softswitch.xdp.pinned import Pinned

from .multicast_program import HERE, fill, pinned_switch


def main(name: str, run: str, bpf: str) -> None:
    switch = pinned_switch(Pinned(name, run=Path(run), bpf=Path(bpf)))
    programs = HERE / "programs"
    config = p4r.ForwardingPipelineConfig(
        p4info=text_format.Parse((programs / "multicast.p4info.txtpb").read_text(), p4i.P4Info()),
        p4_device_config=(programs / "multicast.json").read_bytes(),
    )
    pipeline = build_pipeline(SwitchDevice(switch), config, lambda _digests: True)
    fill(pipeline.engine)
    pipeline.commit()
    print("multicasting", flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
