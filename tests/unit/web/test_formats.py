"""Numbers, times and sizes as text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlwright.web import formats


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (0.0, "0"),
        (3.0, "3"),
        (-0.5, "-0.5"),
        (0.123456789, "0.12346"),
        (1e-300, "1e-300"),
        (123456789.123, "1.2346e+08"),
        (math.nan, "NaN"),
        (1.7976931348623157e308, "∞"),
        (-1.7976931348623157e308, "−∞"),
    ],
)
def test_numbers(value: float | None, expected: str) -> None:
    assert formats.number(value) == expected


def test_all_digits_of_a_number() -> None:
    assert [formats.exact(value) for value in (None, 0.123456789, 1.7976931348623157e308)] == ["", "0.123456789", "∞"]


@given(st.text(), st.integers(3, 40))
def test_the_middle_is_cut(text: str, limit: int) -> None:
    found = formats.middle(text, limit)
    assert len(found) <= limit
    assert (found[0], found[-1]) == (text[0], text[-1]) if text else not found


@given(st.floats())
def test_any_number_is_short_and_harmless(value: float) -> None:
    text = formats.number(value)
    assert 0 < len(text) <= 12
    assert not set(text) & set("<>&\"'")


@pytest.mark.parametrize(
    ("count", "expected"),
    [(None, ""), (0, "0 B"), (999, "999 B"), (1000, "1 KB"), (1_250_000, "1.25 MB"), (10**18, "1e+03 PB")],
)
def test_sizes(count: int | None, expected: str) -> None:
    assert formats.size(count) == expected


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        (None, ""),
        (-5, ""),
        (0, "0ms"),
        (999, "999ms"),
        (3_400, "3.4s"),
        (59_999, "60.0s"),
        (60_000, "1m"),
        (3_599_000, "59m 59s"),
        (3_900_000, "1h 5m"),
        (90_000_000, "1d 1h"),
    ],
)
def test_durations(milliseconds: int | None, expected: str) -> None:
    assert formats.duration(milliseconds) == expected


def test_moments() -> None:
    text = formats.moment(1_700_000_000_123)
    assert text == '<time datetime="2023-11-14T22:13:20.123Z" data-style="relative">2023-11-14 22:13 UTC</time>'
    assert 'data-style="full"' in formats.moment(1, "full")
    assert 'data-style="relative"' in formats.moment(1, '"><script>')


@pytest.mark.parametrize("milliseconds", [None, 0, -1, 10**18, 2**63 - 1])
def test_moments_that_cannot_be_shown(milliseconds: int | None) -> None:
    assert formats.moment(milliseconds) == ""


def test_short() -> None:
    assert formats.short("abc", 3) == "abc"
    assert formats.short("abcd", 3) == "ab…"


def test_spark() -> None:
    assert formats.spark([0, 0], "none") == ""
    drawn = formats.spark([0, 1, 2], '"><script>')
    assert drawn.count("<rect") == 2
    assert "<script>" not in drawn
