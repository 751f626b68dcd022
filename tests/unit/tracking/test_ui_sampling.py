"""Lines with as many points as pixels: extremes stay, gaps stay, order stays."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlwright.tracking.ui.sampling import Line, means, outline, rounded

values = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=400)
widths = st.integers(10, 60)
#: numpy is imported by the first example, which no deadline fits.
unhurried = settings(deadline=None, max_examples=60)


def line(numbers: list[float], steps: list[int] | None = None) -> Line:
    x = np.arange(len(numbers)) if steps is None else np.array(sorted(steps))
    return Line(x.astype(np.int64), np.array(numbers, dtype=np.float64))


@unhurried
@given(values, widths)
def test_an_outline_keeps_ends_extremes_and_order(numbers: list[float], width: int) -> None:
    whole = line(numbers)
    drawn = outline(whole, width)
    assert len(drawn.x) <= 3 * width + 2
    assert (drawn.x[0], drawn.x[-1]) == (whole.x[0], whole.x[-1])
    assert np.all(np.diff(drawn.x) > 0)
    if not np.all(np.isnan(whole.y)):
        assert np.nanmin(drawn.y) == np.nanmin(whole.y)
        assert np.nanmax(drawn.y) == np.nanmax(whole.y)
    positions = {int(x): y for x, y in zip(whole.x, whole.y, strict=True)}
    for x, y in zip(drawn.x.tolist(), drawn.y.tolist(), strict=True):
        assert y == positions[x] or (math.isnan(y) and math.isnan(positions[x]))


def test_one_spike_among_a_million_stays() -> None:
    y = np.zeros(1_000_000)
    y[777_777] = 5.0
    drawn = outline(Line(np.arange(1_000_000, dtype=np.int64), y), 400)
    assert len(drawn.x) <= 802
    assert 777_777 in drawn.x.tolist()


def test_a_gap_stays_a_gap() -> None:
    y = np.linspace(0, 1, 10_000)
    y[4_000:6_000] = math.nan
    for shown in (outline(line(y.tolist()), 100), means(line(y.tolist()), 100)):
        inside = shown.y[(shown.x > 4_100) & (shown.x < 5_900)]
        assert len(inside) > 0
        assert np.all(np.isnan(inside))


@pytest.mark.parametrize("infinite", [1.7976931348623157e308, -1.7976931348623157e308, math.inf])
def test_infinities_stand_beside_the_extremes(infinite: float) -> None:
    y = np.linspace(1, 2, 10_000)
    y[5_005] = infinite
    drawn = outline(line(y.tolist()), 100)
    assert infinite in drawn.y.tolist()
    assert y[5_000] in drawn.y.tolist()
    assert y[5_099] in drawn.y.tolist()
    shown = means(line(y.tolist()), 100).y
    assert 1 <= shown.min() <= shown.max() <= 2


@unhurried
@given(values, widths)
def test_means_lie_between_the_extremes(numbers: list[float], width: int) -> None:
    whole = line(numbers)
    shown = means(whole, width)
    assert len(shown.x) <= max(width, min(len(numbers), width))
    if not np.all(np.isnan(whole.y)):
        low, high = np.nanmin(whole.y), np.nanmax(whole.y)
        inside = shown.y[~np.isnan(shown.y)]
        assert np.all(inside >= low - 1e-6)
        assert np.all(inside <= high + 1e-6)


@unhurried
@given(st.lists(st.integers(-(10**15), 10**15), min_size=200, max_size=300, unique=True))
def test_uneven_steps(steps: list[int]) -> None:
    whole = line([float(n) for n in range(len(steps))], steps)
    drawn = outline(whole, 20)
    assert np.all(np.diff(drawn.x) > 0)
    assert len(drawn.x) <= 42


def test_few_points_pass_unchanged() -> None:
    whole = line([1.0, math.nan, 3.0])
    assert outline(whole, 10) is whole
    assert means(whole, 10) is whole


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 1 / 3, 1e-300, -1.7976931348623157e308, 123456.789012])
def test_rounding_keeps_seven_digits(value: float) -> None:
    (found,) = rounded(np.array([value]))
    assert found == pytest.approx(value, rel=1e-6)


def test_rounding_keeps_nan() -> None:
    assert math.isnan(rounded(np.array([math.nan]))[0])
