"""Packed points."""

import math

from hypothesis import given
from hypothesis import strategies as st

from mlwright.tracking import points as packed

_int64 = st.integers(-(2**63), 2**63 - 1)
_record = st.tuples(_int64, _int64, st.floats())


@given(st.lists(_record))
def test_what_is_packed_is_unpacked_unchanged(records: list[packed.Record]) -> None:
    data = packed.pack(records)
    assert len(data) == len(records) * packed.RECORD_BYTES
    assert repr(packed.unpack(data)) == repr(records)
    assert [(p.step, p.timestamp) for p in packed.points(packed.load([data]))] == [record[:2] for record in records]


@given(st.lists(_record, min_size=1))
def test_the_times_of_a_chunk(records: list[packed.Record]) -> None:
    times = [timestamp for _, timestamp, _ in records]
    assert packed.times(packed.pack(records)) == (min(times), max(times))


_part = st.lists(st.tuples(st.sampled_from("abc"), _record))


@given(st.lists(_part) | st.lists(st.tuples(_record, _record).map(lambda two: list(zip("ab", two, strict=True)))))
def test_parts_are_split_by_key_in_order(parts: list[list[tuple[str, packed.Record]]]) -> None:
    expected: dict[str, list[packed.Record]] = {}
    for part in parts:
        for key, record in part:
            expected.setdefault(key, []).append(record)
    found = packed.split([([key for key, _ in part], packed.pack([record for _, record in part])) for part in parts])
    assert found == {key: packed.pack(records) for key, records in expected.items()}


def test_equal_points_have_equal_identities() -> None:
    assert packed.identity((1, 2, math.nan)) == packed.identity((1, 2, -math.nan)) != packed.identity((1, 2, 0.0))
    assert packed.identity((1, 2, 0.0)) == packed.identity((1, 2, -0.0))
