"""Our own scores agree with scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from examples.flights import evaluate

# Few distinct probabilities, so that ties are common.
PAIRS = st.lists(st.tuples(st.booleans(), st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.75, 0.99])), min_size=4, max_size=60)


@settings(deadline=None)
@given(PAIRS)
def test_scores_agree_with_scikit_learn(pairs: list[tuple[bool, float]]) -> None:
    pairs = [*pairs, (True, 0.5), (False, 0.5)]  # both outcomes must occur
    late, probability = np.array([row[0] for row in pairs]), np.array([row[1] for row in pairs])
    found = evaluate.score(late, probability)
    assert found.auc == pytest.approx(metrics.roc_auc_score(late, probability))
    assert found.log_loss == pytest.approx(metrics.log_loss(late, probability))
    assert found.brier == pytest.approx(metrics.brier_score_loss(late, probability))


def test_calibration_error_by_hand() -> None:
    late = np.array([True, False, False, False, True, True])
    probability = np.array([0.05, 0.05, 0.05, 0.05, 0.95, 0.85])
    # bins: 4 rows 0.05 against 0.25, one 0.95 against 1, one 0.85 against 1
    expected = 4 / 6 * 0.20 + 1 / 6 * 0.05 + 1 / 6 * 0.15
    assert evaluate.score(late, probability).calibration_error == pytest.approx(expected)


def test_certain_and_wrong_is_bad_but_finite() -> None:
    assert 100 < evaluate.log_loss(np.array([True]), np.array([0.0])) < 1e4
    assert evaluate.score(np.array([True, False]), np.array([1.0, 0.0])).auc == 1.0


def test_months_are_scored_apart() -> None:
    late = np.array([True, False, True, False])
    found = evaluate.evaluate(late, np.array([0.9, 0.1, 0.1, 0.9]), np.array([4, 4, 5, 5]), 0.5)
    assert {month: scores.auc for month, scores in found.by_month.items()} == {4: 1.0, 5: 0.0}
    assert found.overall.rows == 4
    assert found.overall.metrics("test")["test_auc"] == 0.5


def test_curve_keeps_the_steps() -> None:
    late = np.array([True, False])
    points = evaluate.curve(late, [(5, np.array([0.4, 0.6])), (10, np.array([0.6, 0.4]))])
    assert [(step, auc) for step, _, auc in points] == [(5, 0.0), (10, 1.0)]
    assert points[1][1] == pytest.approx(-np.log(0.6))
