"""Metrics and intervals: as scikit-learn and SciPy have them, and covering the truth as often as they say."""

import json
import math
import subprocess
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlwright.kernel.errors import Invalid
from mlwright.registry.gates import statistics
from mlwright.registry.gates.metrics import METRICS, Rows
from mlwright.registry.gates.names import METRIC_NAMES, ROC_AUC
from mlwright.registry.gates.spec import Interval
from tests.components import mlflow_python

_CLASSIFICATION = [name for name in METRICS if not name.startswith(("mean_", "root_", "r2"))]


def classified(count: int, seed: int, skill: float = 1.5) -> Rows:
    """Labels, and a model that is better the higher its skill."""
    random = np.random.default_rng(seed)
    labels = (random.random(count) < 0.3).astype(float)
    scores = 1 / (1 + np.exp(-(skill * (2 * labels - 1) + random.normal(size=count))))
    return Rows(labels, (scores > 0.5).astype(float), scores)


def regressed(count: int, seed: int, noise: float = 1.0) -> Rows:
    random = np.random.default_rng(seed)
    labels = random.normal(10, 3, count)
    return Rows(labels, labels + random.normal(0, noise, count))


_REFERENCE = """
import json, sys
import numpy as np
from scipy import stats
from sklearn import metrics as m
given = json.load(sys.stdin)
y, p, s = (np.array(given[name]) for name in ("labels", "predictions", "scores"))
r, q = np.array(given["truth"]), np.array(given["guess"])
true_negative, false_positive, *_ = m.confusion_matrix(y, p).ravel()
found = {name: float(getattr(m, name)(y, p)) for name in
    ("accuracy_score", "precision_score", "recall_score", "f1_score", "balanced_accuracy_score")}
found |= {name: float(getattr(m, name)(y, s)) for name in ("log_loss", "brier_score_loss")}
found |= {name: float(getattr(m, name)(r, q)) for name in ("mean_absolute_error", "mean_squared_error",
    "mean_absolute_percentage_error", "root_mean_squared_error", "r2_score")}
found["false_positive_rate"] = float(false_positive / (false_positive + true_negative))
found["selection_rate"] = float(p.mean())
found["roc_auc"] = float(m.roc_auc_score(y, s))
found["tails"] = [float(stats.binom.cdf(k, n, 0.5)) for k, n in given["tails"]]
print(json.dumps(found))
"""


@pytest.mark.component
def test_metrics_are_those_of_scikit_learn() -> None:
    rows, numbers = classified(2_000, 1), regressed(2_000, 2)
    tails = [(0, 0), (0, 7), (3, 10), (480, 1000), (49_500, 100_000), (10, 10)]
    assert rows.scores is not None
    given_to_it = {
        "labels": rows.labels.tolist(),
        "predictions": rows.predictions.tolist(),
        "scores": rows.scores.tolist(),
        "truth": numbers.labels.tolist(),
        "guess": numbers.predictions.tolist(),
        "tails": tails,
    }
    done = subprocess.run(
        [str(mlflow_python("3.17.2")), "-c", _REFERENCE],
        input=json.dumps(given_to_it),
        capture_output=True,
        text=True,
        check=True,
    )
    expected = json.loads(done.stdout)
    assert expected.pop("tails") == pytest.approx([statistics.binomial_tail(*each) for each in tails], rel=1e-9)
    assert expected.pop("roc_auc") == pytest.approx(statistics.roc_auc(rows, 0.95).value, abs=1e-12)
    for name, value in expected.items():
        assert METRICS[name].of(rows if name in _CLASSIFICATION else numbers) == pytest.approx(value, rel=1e-9), name
    assert set(METRICS) - set(expected) == {"expected_calibration_error"}


def test_the_calibration_error_is_the_mean_gap_between_said_and_true() -> None:
    rows = Rows(np.array([1.0, 0, 1, 1]), np.ones(4), np.array([0.05, 0.05, 0.95, 1.0]))
    assert METRICS["expected_calibration_error"].of(rows) == pytest.approx((abs(0.1 - 1) + abs(1.95 - 2)) / 4)


@pytest.mark.parametrize("name", ["precision_score", "recall_score", "f1_score", "balanced_accuracy_score"])
def test_what_is_not_defined_is_nan(name: str) -> None:
    nobody = Rows(np.zeros(10), np.zeros(10), np.zeros(10))
    assert math.isnan(METRICS[name].of(nobody))
    found = statistics.estimate(METRICS[name], nobody, 0.95, 0)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(statistics.roc_auc(nobody, 0.95).value)


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 400)


def _covers(interval: Callable[[int], Interval], truth: float, times: int = 200) -> float:
    found = [interval(seed) for seed in range(times)]
    return sum(each.low <= truth <= each.high for each in found) / times


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("name", ["accuracy_score", "f1_score", "log_loss"])
def test_intervals_cover_the_truth_as_often_as_they_say(name: str) -> None:
    truth = METRICS[name].of(classified(1_000_000, 77))
    share = _covers(lambda seed: statistics.estimate(METRICS[name], classified(300, seed), 0.9, seed), truth)
    assert 0.82 <= share <= 0.97


@pytest.mark.usefixtures("few_resamples")
def test_differences_cover_the_truth_as_often_as_they_say() -> None:
    def pair(count: int, seed: int) -> tuple[Rows, Rows]:
        one = classified(count, seed)
        return one, Rows(one.labels, *classified(count, seed, skill=1.2)[1:])

    truth = METRICS["brier_score_loss"].of(pair(1_000_000, 77)[0]) - METRICS["brier_score_loss"].of(
        pair(1_000_000, 77)[1]
    )
    share = _covers(lambda seed: statistics.difference(METRICS["brier_score_loss"], *pair(300, seed), 0.9, seed), truth)
    assert 0.82 <= share <= 0.97
    area = statistics.roc_auc(pair(1_000_000, 77)[0], 0.9).value - statistics.roc_auc(pair(1_000_000, 77)[1], 0.9).value
    share = _covers(lambda seed: statistics.roc_auc_difference(*pair(300, seed), 0.9), area)
    assert 0.82 <= share <= 0.97


def test_blocks_of_rows_say_what_rows_say(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = classified(20_000, 5)
    blocks = statistics.estimate(METRICS["f1_score"], rows, 0.95, 1)
    monkeypatch.setattr(statistics, "BLOCKS", 1_000_000)
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    single = statistics.estimate(METRICS["f1_score"], rows, 0.95, 1)
    assert blocks.value == pytest.approx(single.value)
    assert blocks.high - blocks.low == pytest.approx(single.high - single.low, rel=0.25)


@given(seed=st.integers(0, 2**32), confidence=st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=25, deadline=None)
def test_intervals_hold_their_estimate_and_grow_with_confidence(seed: int, confidence: float) -> None:
    rows = classified(200, seed)
    found = statistics.estimate(METRICS["accuracy_score"], rows, confidence, seed)
    assert found.low <= found.value <= found.high
    wider = statistics.estimate(METRICS["accuracy_score"], rows, 0.999, seed)
    assert wider.low <= found.low
    assert found.high <= wider.high


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_a_model_does_not_differ_from_itself(seed: int) -> None:
    rows = classified(200, seed)
    for name in _CLASSIFICATION:
        assert statistics.difference(METRICS[name], rows, rows, 0.95, seed)[:3] == (0, 0, 0)
    assert statistics.roc_auc_difference(rows, rows, 0.95)[:3] == (0, 0, 0)
    assert statistics.mcnemar(rows, rows) == (0, 0, 1.0)


def test_the_same_seed_gives_the_same_interval() -> None:
    rows = classified(5_000, 3)
    first, second = (statistics.estimate(METRICS["f1_score"], rows, 0.95, 9) for _ in range(2))
    assert first == second


def test_rows_must_be_the_same() -> None:
    with pytest.raises(Invalid, match="same rows"):
        statistics.difference(METRICS["accuracy_score"], classified(10, 1), classified(10, 2), 0.95, 0)
    with pytest.raises(Invalid, match="same rows"):
        statistics.mcnemar(classified(10, 1), classified(11, 1))


def test_the_spread_of_groups_is_their_largest_gap() -> None:
    rows = classified(3_000, 4)
    groups = [rows.take(np.arange(0, 1000)), rows.take(np.arange(1000, 3000))]
    rates = [METRICS["selection_rate"].of(group) for group in groups]
    found = statistics.spread(METRICS["selection_rate"], groups, 0.95, 0)
    assert found.value == pytest.approx(max(rates) - min(rates))
    assert found.low <= found.value <= found.high


@given(mine=st.lists(st.booleans(), min_size=1, max_size=60), data=st.data())
@settings(max_examples=50, deadline=None)
def test_mcnemar_counts_what_only_one_got_right(mine: list[bool], data: st.DataObject) -> None:
    other = data.draw(st.lists(st.booleans(), min_size=len(mine), max_size=len(mine)))
    labels = np.ones(len(mine))
    found = statistics.mcnemar(Rows(labels, np.array(mine, float)), Rows(labels, np.array(other, float)))
    assert found.only_candidate == sum(a and not b for a, b in zip(mine, other, strict=True))
    exact = sum(math.comb(found[0] + found[1], k) for k in range(min(found[:2]) + 1)) / 2 ** (found[0] + found[1])
    assert found.p_value == pytest.approx(min(1.0, 2 * exact))


def test_the_names_are_those_of_the_metrics() -> None:
    assert {*METRICS, ROC_AUC} == METRIC_NAMES
