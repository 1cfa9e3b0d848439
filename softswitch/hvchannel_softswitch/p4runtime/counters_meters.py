# SPDX-License-Identifier: Apache-2.0
"""Counter and meter values on the wire, and Write and Read of the indirect arrays (sections "CounterEntry"
and "MeterEntry")."""

from __future__ import annotations

from collections.abc import Iterator

from finsy.proto import p4r

from hvchannel_softswitch.engine import CounterData, MeterConfig
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, invalid
from hvchannel_softswitch.p4runtime.p4info import Counter, Meter
from hvchannel_softswitch.p4runtime.pipeline import Pipeline


def decode_counter_data(data: p4r.CounterData) -> CounterData:
    """Raises INVALID_ARGUMENT for a negative count."""
    if data.packet_count < 0 or data.byte_count < 0:
        raise invalid(f"a counter cannot be negative: packets {data.packet_count}, bytes {data.byte_count}")
    return CounterData(packets=data.packet_count, bytes=data.byte_count)


def encode_counter_data(data: CounterData) -> p4r.CounterData:
    """Both counts, whatever the P4 counter's type: P4Runtime does not tell the types apart."""
    return p4r.CounterData(packet_count=data.packets, byte_count=data.bytes)


def decode_meter_config(meter: Meter | None, config: p4r.MeterConfig) -> MeterConfig:
    """Raises INVALID_ARGUMENT for rates that no two-rate three-colour marker can have."""
    assert meter is not None, "checked before"
    what = f"meter {meter.name!r}"
    if min(config.cir, config.cburst, config.pir, config.pburst) < 0:
        raise invalid(f"{what}: rates and bursts cannot be negative")
    if config.eburst:
        raise invalid(f"{what} is not a single rate three colour marker, so eburst must be 0")
    if meter.single_rate and (config.pir != config.cir or config.pburst != config.cburst):
        raise invalid(f"{what} has a single rate, so pir and pburst must equal cir and cburst")
    if config.cir > config.pir:
        raise invalid(f"{what}: cir {config.cir} is above pir {config.pir}")
    return MeterConfig(cir=config.cir, cburst=config.cburst, pir=config.pir, pburst=config.pburst)


def encode_meter_config(config: MeterConfig) -> p4r.MeterConfig:
    """As the client wrote it."""
    return p4r.MeterConfig(cir=config.cir, cburst=config.cburst, pir=config.pir, pburst=config.pburst)


def only_modify(kind: p4r.Update.Type.ValueType, what: str) -> None:
    """Arrays, direct resources and value sets are there as long as the program is. Raises INVALID_ARGUMENT for
    INSERT and DELETE."""
    if kind != p4r.Update.MODIFY:
        raise invalid(f"{what} is always there (valid: MODIFY)")


def write_counter(pipeline: Pipeline, kind: p4r.Update.Type.ValueType, message: p4r.CounterEntry) -> None:
    """Sets one cell, or all of them when the index is unset; without data nothing changes."""
    counter = pipeline.program.counter(message.counter_id)
    only_modify(kind, f"counter {counter.name!r}")
    cells = _cells(counter, message.index if message.HasField("index") else None)
    if not message.HasField("data"):
        return
    data = decode_counter_data(message.data)
    for index in cells:
        pipeline.engine.write_counter(counter.full_name, index, data)


def read_counters(pipeline: Pipeline, wanted: p4r.CounterEntry) -> Iterator[p4r.CounterEntry]:
    """One cell, all cells of a counter, or (id 0) all cells of all counters."""
    program, number = pipeline.program, wanted.counter_id
    counters = [program.counter(number)] if number else list(program.counters.values())
    for counter in counters:
        for index in _cells(
            counter, wanted.index if wanted.counter_id and wanted.HasField("index") else None
        ):
            data = encode_counter_data(pipeline.engine.read_counter(counter.full_name, index))
            yield p4r.CounterEntry(counter_id=counter.id, index=p4r.Index(index=index), data=data)


def write_meter(pipeline: Pipeline, kind: p4r.Update.Type.ValueType, message: p4r.MeterEntry) -> None:
    """Configures one cell, or all of them when the index is unset; without a config back to always green."""
    meter = pipeline.program.meter(message.meter_id)
    only_modify(kind, f"meter {meter.name!r}")
    no_colour_counters(message.HasField("counter_data"))
    config = decode_meter_config(meter, message.config) if message.HasField("config") else None
    for index in _cells(meter, message.index if message.HasField("index") else None):
        pipeline.engine.write_meter(meter.full_name, index, config)


def read_meters(pipeline: Pipeline, wanted: p4r.MeterEntry) -> Iterator[p4r.MeterEntry]:
    """One cell, all cells of a meter, or (id 0) all cells of all meters; a default configuration is left
    unset."""
    no_colour_counters(wanted.HasField("counter_data"))
    program, number = pipeline.program, wanted.meter_id
    meters = [program.meter(number)] if number else list(program.meters.values())
    for meter in meters:
        for index in _cells(meter, wanted.index if wanted.meter_id and wanted.HasField("index") else None):
            config = pipeline.engine.read_meter(meter.full_name, index)
            encoded = encode_meter_config(config) if config is not None else None
            yield p4r.MeterEntry(meter_id=meter.id, index=p4r.Index(index=index), config=encoded)


def no_colour_counters(is_asked: bool) -> None:
    """Raises UNIMPLEMENTED, as the spec wants from targets without counters per colour."""
    if is_asked:
        raise P4RuntimeError(
            Code.UNIMPLEMENTED, "this switch keeps no counters per meter colour (counter_data)"
        )


def cells_of(what: str, size: int, index: p4r.Index | None) -> range:
    """The cells of an array (`what`: "counter 'x'") that an index selects; all without one. Raises
    INVALID_ARGUMENT for a negative index, OUT_OF_RANGE for one beyond the array."""
    if index is None:
        return range(size)
    if index.index < 0:
        raise invalid(f"index {index.index} of {what} is negative (valid: 0 to {size - 1})")
    if index.index >= size:
        raise P4RuntimeError(
            Code.OUT_OF_RANGE, f"index {index.index} is beyond {what} (valid: 0 to {size - 1})"
        )
    return range(index.index, index.index + 1)


def _cells(array: Counter | Meter, index: p4r.Index | None) -> range:
    kind = "counter" if isinstance(array, Counter) else "meter"
    return cells_of(f"{kind} {array.name!r}", array.size, index)
