"""How near is near enough, and what is never the same twice."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlwright.kernel.errors import Invalid
from mlwright.reproduction import models, tolerances
from mlwright.reproduction.spec import Likeness, Tolerance
from mlwright.reproduction.tolerances import Tolerances

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
FINITE = st.floats(-1e100, 1e100)


@pytest.mark.parametrize(
    ("before", "after", "tolerance", "likeness"),
    [
        (1.0, 1.0, Tolerance(), Likeness.SAME),
        (math.nan, math.nan, Tolerance(), Likeness.SAME),
        (math.inf, math.inf, Tolerance(), Likeness.SAME),
        (math.inf, -math.inf, Tolerance(1e300), Likeness.DIFFERS),
        (1.0, math.nan, Tolerance(1e300), Likeness.DIFFERS),
        (100.0, 101.0, Tolerance(relative=0.01), Likeness.WITHIN),
        (100.0, 101.1, Tolerance(relative=0.01), Likeness.DIFFERS),
        (0.0, 1e-9, Tolerance(relative=0.5), Likeness.DIFFERS),
        (0.0, 1e-9, Tolerance(absolute=1e-8), Likeness.WITHIN),
    ],
)
def test_comparison(before: float, after: float, tolerance: Tolerance, likeness: Likeness) -> None:
    assert tolerances.compare(before, after, tolerance) is likeness


@given(NUMBERS)
def test_everything_is_like_itself(value: float) -> None:
    assert tolerances.compare(value, value, Tolerance()) is Likeness.SAME


@given(FINITE, FINITE, st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_tolerance_never_makes_worse(before: float, after: float, small: float, more: float) -> None:
    if tolerances.compare(before, after, Tolerance(small)) is not Likeness.DIFFERS:
        assert tolerances.compare(before, after, Tolerance(small + more)) is not Likeness.DIFFERS


def test_they_are_read_as_written() -> None:
    found = Tolerances(tolerances.parse(["*=1%", "loss=0.5", "a=b=2e-3"]), ["plots/*"])
    assert found.of("auc") == Tolerance(0.0, 0.01)
    assert found.of("loss") == Tolerance(0.5)
    assert found.of("a=b") == Tolerance(0.002)
    assert Tolerances().of("auc") is None
    assert found.is_ignored("plots/roc.png")
    assert not found.is_ignored("roc.png")


@pytest.mark.parametrize("text", ["auc", "auc=", "=1", "auc=x", "auc=-1", "auc=nan", "auc=1e999", "auc=1 %"])
def test_what_is_no_tolerance(text: str) -> None:
    with pytest.raises(Invalid) as error:
        tolerances.parse([text])
    assert error.value.path == "--tolerance"


@pytest.mark.parametrize("name", ["system/cpu", "fit_seconds", "train_time", "rows_per_second", "latency_ms", "Time"])
def test_what_differs_by_nature(name: str) -> None:
    assert tolerances.by_nature(name)


@pytest.mark.parametrize("name", ["auc", "loss", "timeliness", "sms_recall", "items", "mse", "test_rows", "overtime"])
def test_what_does_not(name: str) -> None:
    assert not tolerances.by_nature(name)


@pytest.mark.parametrize(
    ("before", "after", "likeness"),
    [
        ([[1.0, 2]], [[1.0, 2.0]], Likeness.SAME),
        ({"a": [1.0]}, {"a": [1.0000001]}, Likeness.WITHIN),
        ({"a": [1.0]}, {"a": [1.1]}, Likeness.DIFFERS),
        ([1.0], [1.0, 2.0], Likeness.DIFFERS),
        ({"a": 1}, {"b": 1}, Likeness.DIFFERS),
        (["cat"], ["dog"], Likeness.DIFFERS),
        ([True], [1], Likeness.DIFFERS),
        (["nan"], ["nan"], Likeness.SAME),
    ],
)
def test_predictions(before: object, after: object, likeness: Likeness) -> None:
    assert models.compare(before, after, tolerances.DEFAULT) is likeness
