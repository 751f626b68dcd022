"""Metrics of a model over rows, as functions of sums: so that resampling means adding up again, not computing again.

Names and definitions are MLflow's and scikit-learn's.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Equally wide bins of predicted probability.
CALIBRATION_BINS = 10
_SMALLEST = 1e-15


class Rows(NamedTuple):
    """What a model said of some rows, and what was true.

    Attributes:
        labels, predictions: numbers; for classification 1 means the positive class and everything else does not.
        scores: predicted probability of the positive class; None when not known.
    """

    labels: Floats
    predictions: Floats
    scores: Floats | None = None

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> "Rows":
        """Some of the rows."""
        return Rows(self.labels[index], self.predictions[index], None if self.scores is None else self.scores[index])


class Metric(NamedTuple):
    """How to compute a metric.

    Attributes:
        name: as MLflow calls it.
        terms: of rows, an array (rows, k) of what is added up.
        value: of sums (…, k), the metric (…); NaN where it is not defined.
        higher_is_better: whether more is better.
        needs_scores: whether probabilities are needed.
    """

    name: str
    terms: Callable[[Rows], Floats]
    value: Callable[[Floats], Floats]
    higher_is_better: bool = True
    needs_scores: bool = False

    def of(self, rows: Rows) -> float:
        """The metric over all rows."""
        return float(self.value(self.terms(rows).sum(axis=0)))


def _ratio(above: Floats, below: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.where(below == 0, np.nan, above / below)
    return found


def _columns(*columns: NDArray[np.bool_] | Floats) -> Floats:
    return np.stack([column.astype(np.float64) for column in columns], axis=-1)


def _ones(rows: Rows) -> Floats:
    return np.ones(len(rows.labels))


def _probability(rows: Rows) -> Floats:
    assert rows.scores is not None  # who asks has looked at needs_scores
    return rows.scores


def _log_loss(rows: Rows) -> Floats:
    right = np.where(rows.labels == 1, _probability(rows), 1 - _probability(rows))
    found: Floats = -np.log(np.clip(right, _SMALLEST, 1))
    return found


def _bins(rows: Rows) -> Floats:
    """Per bin: the sum of probabilities, of positive labels, and the number of rows."""
    scores, positive = _probability(rows), rows.labels == 1
    number = np.minimum((scores * CALIBRATION_BINS).astype(np.intp), CALIBRATION_BINS - 1)
    found = np.zeros((len(scores), 3, CALIBRATION_BINS))
    row = np.arange(len(scores))
    found[row, 0, number], found[row, 1, number], found[row, 2, number] = scores, positive, 1
    return found.reshape(len(scores), 3 * CALIBRATION_BINS)


def _calibration_error(sums: Floats) -> Floats:
    said, true, count = np.split(sums, 3, axis=-1)
    return _ratio(np.abs(said - true).sum(axis=-1), count.sum(axis=-1))


def _r2(sums: Floats) -> Floats:
    squares, label, label_squares, count = (sums[..., index] for index in range(4))
    return 1 - _ratio(squares, label_squares - _ratio(label**2, count))


def _mean(name: str, term: Callable[[Rows], Floats], *, higher_is_better: bool, needs_scores: bool = False) -> Metric:
    return Metric(
        name,
        lambda rows: _columns(term(rows), _ones(rows)),
        lambda sums: _ratio(sums[..., 0], sums[..., 1]),
        higher_is_better,
        needs_scores,
    )


def _of_positives(
    name: str, terms: Callable[[NDArray[np.bool_], NDArray[np.bool_]], Floats], value: Callable[[Floats], Floats]
) -> Metric:
    """A metric of (label is positive, prediction is positive)."""
    return Metric(name, lambda rows: terms(rows.labels == 1, rows.predictions == 1), value)


def _error(rows: Rows) -> Floats:
    return rows.predictions - rows.labels


def _relative_error(rows: Rows) -> Floats:
    found: Floats = np.abs(_error(rows)) / np.maximum(np.abs(rows.labels), np.finfo(np.float64).eps)
    return found


_ALL = (
    _mean("accuracy_score", lambda rows: (rows.labels == rows.predictions).astype(np.float64), higher_is_better=True),
    _of_positives(
        "precision_score", lambda is_so, said: _columns(is_so & said, said), lambda s: _ratio(s[..., 0], s[..., 1])
    ),
    _of_positives(
        "recall_score", lambda is_so, said: _columns(is_so & said, is_so), lambda s: _ratio(s[..., 0], s[..., 1])
    ),
    _of_positives(
        "f1_score",
        lambda is_so, said: _columns(is_so & said, said, is_so),
        lambda s: _ratio(2 * s[..., 0], s[..., 1] + s[..., 2]),
    ),
    _of_positives(
        "balanced_accuracy_score",
        lambda is_so, said: _columns(is_so & said, is_so, ~is_so & ~said, ~is_so),
        lambda s: (_ratio(s[..., 0], s[..., 1]) + _ratio(s[..., 2], s[..., 3])) / 2,
    ),
    _of_positives(
        "false_positive_rate",
        lambda is_so, said: _columns(~is_so & said, ~is_so),
        lambda s: _ratio(s[..., 0], s[..., 1]),
    )._replace(higher_is_better=False),
    _mean("selection_rate", lambda rows: (rows.predictions == 1).astype(np.float64), higher_is_better=True),
    _mean("log_loss", _log_loss, higher_is_better=False, needs_scores=True),
    _mean(
        "brier_score_loss",
        lambda rows: (_probability(rows) - (rows.labels == 1)) ** 2,
        higher_is_better=False,
        needs_scores=True,
    ),
    Metric("expected_calibration_error", _bins, _calibration_error, higher_is_better=False, needs_scores=True),
    _mean("mean_absolute_error", lambda rows: np.abs(_error(rows)), higher_is_better=False),
    _mean("mean_squared_error", lambda rows: _error(rows) ** 2, higher_is_better=False),
    _mean("mean_absolute_percentage_error", _relative_error, higher_is_better=False),
    Metric(
        "root_mean_squared_error",
        lambda rows: _columns(_error(rows) ** 2, _ones(rows)),
        lambda sums: np.sqrt(_ratio(sums[..., 0], sums[..., 1])),
        higher_is_better=False,
    ),
    Metric("r2_score", lambda rows: _columns(_error(rows) ** 2, rows.labels, rows.labels**2, _ones(rows)), _r2),
)
#: All metrics that are functions of sums, by name. The area under the ROC curve is not: see statistics.roc_auc.
METRICS = {metric.name: metric for metric in _ALL}
