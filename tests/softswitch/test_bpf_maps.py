# SPDX-License-Identifier: Apache-2.0
"""Maps, on the real kernel."""

from __future__ import annotations

import os
import struct

import pytest
from hvchannel_softswitch.bpf import Map, MapFlag, MapKind, Update, create_map, possible_cpus, synchronize
from hvchannel_softswitch.bpf.barrier import parse_cpu_list

pytestmark = pytest.mark.root


def u32(value: int) -> bytes:
    return struct.pack("=I", value)


def test_a_hash_keeps_what_is_written_and_says_what_it_is() -> None:
    with create_map(MapKind.HASH, 4, 6, 8, name="t_hash") as table:
        assert table.info.name == "t_hash"
        assert (table.info.kind, table.info.key_size, table.info.value_size) == (MapKind.HASH, 4, 6)
        assert table.info.max_entries == 8
        assert table.lookup(u32(7)) is None
        table.update(u32(7), b"sevens")
        table.update(u32(0), b"nothin")
        assert table.lookup(u32(7)) == b"sevens"
        assert set(table.keys()) == {u32(7), u32(0)}
        assert table.delete(u32(7))
        assert not table.delete(u32(7))
        assert list(table.keys()) == [u32(0)]


def test_update_can_insist_on_an_entry_being_there_or_not() -> None:
    with create_map(MapKind.HASH, 4, 4, 8) as table:
        with pytest.raises(FileNotFoundError):
            table.update(u32(1), u32(1), Update.EXIST)
        table.update(u32(1), u32(1), Update.NO_EXIST)
        with pytest.raises(FileExistsError):
            table.update(u32(1), u32(2), Update.NO_EXIST)
        assert table.lookup(u32(1)) == u32(1)


def test_wrong_sizes_are_refused_before_the_kernel_reads_past_them() -> None:
    with create_map(MapKind.ARRAY, 4, 4, 8, name="t_array") as table:
        with pytest.raises(ValueError, match="t_array: a key of 2 bytes, it takes 4"):
            table.lookup(b"ab")
        with pytest.raises(ValueError, match="t_array: a value of 5 bytes, it takes 4"):
            table.update(u32(0), b"abcde")


def test_a_map_of_maps_holds_what_is_put_there() -> None:
    with (
        create_map(MapKind.HASH, 4, 4, 8) as one,
        create_map(MapKind.HASH, 4, 4, 16) as two,
        create_map(MapKind.ARRAY, 4, 4, 8) as other,
        create_map(MapKind.ARRAY_OF_MAPS, 4, 4, 4, inner=one) as outer,
    ):
        outer.update_many({u32(1): u32(one.fd), u32(3): u32(two.fd)})
        outer.update_many({})
        assert outer.lookup(u32(0)) is None
        two.update(u32(7), u32(8))
        number = outer.lookup(u32(3))
        assert number == u32(two.info.id)
        with Map.from_id(two.info.id) as found:
            assert found.lookup(u32(7)) == u32(8)
        with pytest.raises(OSError, match="Invalid argument"):
            outer.update(u32(2), u32(other.fd))
        with pytest.raises(ValueError, match="a value of 2 bytes, it takes 4"):
            outer.update_many({u32(1): b"ab"})
    with pytest.raises(FileNotFoundError):
        Map.from_id(0xFFFFFF0)


def test_what_the_kernel_refuses_to_create_is_named() -> None:
    with pytest.raises(OSError, match=r"MAP_CREATE.*ARRAY 't_bad' of 0 entries"):
        create_map(MapKind.ARRAY, 4, 4, 0, name="t_bad")
    with pytest.raises(ValueError, match="at most 15 letters"):
        create_map(MapKind.ARRAY, 4, 4, 1, name="much-too-long-a-name")


def test_the_memory_of_an_array_is_the_array() -> None:
    with create_map(MapKind.ARRAY, 4, 12, 3, MapFlag.MMAPABLE, "t_arena") as table:
        memory = table.memory()
        table.update(u32(2), b"by syscall..")
        assert memory[32:44] == b"by syscall.."
        memory[16:28] = b"by memory..."
        assert table.lookup(u32(1)) == b"by memory..."
        memory.close()
    with (
        create_map(MapKind.ARRAY, 4, 4, 1, name="t_plain") as plain,
        pytest.raises(ValueError, match="t_plain"),
    ):
        plain.memory()


def test_memory_outlives_the_descriptor() -> None:
    table = create_map(MapKind.ARRAY, 4, 1 << 20, 1, MapFlag.MMAPABLE)
    memory = table.memory()
    table.close()
    assert len(memory) == 1 << 20
    memory[-1] = 7
    assert memory[-1] == 7
    memory.close()


def test_a_per_cpu_value_has_a_slot_for_each_possible_cpu() -> None:
    with create_map(MapKind.PERCPU_ARRAY, 4, 4, 1) as table:
        assert table.value_bytes == 8 * possible_cpus()
        value = b"".join(struct.pack("=II", cpu + 1, 0) for cpu in range(possible_cpus()))
        table.update(u32(0), value)
        assert table.lookup(u32(0)) == value


def test_a_closed_map_gives_its_descriptor_back_once() -> None:
    table = create_map(MapKind.ARRAY, 4, 4, 1)
    fd = table.fd
    table.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    table.close()
    assert table.fd == -1


def test_a_descriptor_of_something_else_is_refused() -> None:
    read_end, write_end = os.pipe()
    try:
        with pytest.raises(OSError, match="OBJ_GET_INFO"):
            Map(read_end)
        os.fstat(read_end)  # and stays its owner's
    finally:
        os.close(read_end)
        os.close(write_end)


def test_synchronize_returns() -> None:
    synchronize()


@pytest.mark.parametrize(("text", "slots"), [("0\n", 1), ("0-3\n", 4), ("0-1,4-5\n", 6), ("0,2", 3)])
def test_cpu_lists(text: str, slots: int) -> None:
    assert parse_cpu_list(text) == slots
