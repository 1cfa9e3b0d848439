# SPDX-License-Identifier: Apache-2.0
"""Damaged artefacts of p4c: a switch takes them or refuses them with INVALID_ARGUMENT in one line."""

from pathlib import Path

from finsy.proto import p4r
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError
from hvchannel_softswitch.p4runtime.pipeline import verify
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.damage import damaged, examples

COMPILED = Path("p4src/compiled")
NAMES = ["host_vswitch", "guest_vswitch"]


def refused_or_taken(config: p4r.ForwardingPipelineConfig) -> None:
    try:
        verify(config)
    except P4RuntimeError as error:
        assert error.code is Code.INVALID_ARGUMENT
        assert error.message
        assert "\n" not in error.message


def whole(name: str) -> p4r.ForwardingPipelineConfig:
    config = p4r.ForwardingPipelineConfig(p4_device_config=(COMPILED / f"{name}.json").read_bytes())
    text_format.Parse((COMPILED / f"{name}.p4info.txtpb").read_text(), config.p4info)
    return config


WHOLE = {name: whole(name) for name in NAMES}


@examples(15)
@given(st.data())
def test_json(data: st.DataObject) -> None:
    """As bytes: what is right JSON and yet wrong is in test_model_load.py."""
    good = WHOLE[data.draw(st.sampled_from(NAMES))]
    config = p4r.ForwardingPipelineConfig(p4info=good.p4info)
    config.p4_device_config = data.draw(damaged(good.p4_device_config))
    refused_or_taken(config)


@examples(40)
@given(st.data())
def test_p4info(data: st.DataObject) -> None:
    """Some of its lines missing, twice, or with another value; right or not as text, it is a P4Info in the end."""
    name = data.draw(st.sampled_from(NAMES))
    lines = (COMPILED / f"{name}.p4info.txtpb").read_text().splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        field, colon, _value = lines[at].partition(":")
        if not colon:
            continue
        values = [
            "0",
            "1",
            "-1",
            "4294967295",
            "2147483647",
            '""',
            '"x"',
            '"\\000\\n"',
            "EXACT",
            "LPM",
            "BOTH",
        ]
        lines[at] = data.draw(
            st.sampled_from(["", f"{lines[at]}\n{lines[at]}", *(f"{field}: {v}" for v in values)])
        )
    config = p4r.ForwardingPipelineConfig(p4_device_config=WHOLE[name].p4_device_config)
    try:
        text_format.Parse("\n".join(lines), config.p4info)
    except text_format.ParseError:
        return
    refused_or_taken(config)


@examples(20)
@given(st.data())
def test_a_config_that_was_kept(data: st.DataObject) -> None:
    """As a switch before this one left it on disk, P4Info and all."""
    good = WHOLE[data.draw(st.sampled_from(NAMES))]
    beginning = p4r.ForwardingPipelineConfig(p4info=good.p4info).SerializeToString()
    try:
        config = p4r.ForwardingPipelineConfig.FromString(data.draw(damaged(beginning)))
    except DecodeError:
        return
    config.p4_device_config = good.p4_device_config
    refused_or_taken(config)
