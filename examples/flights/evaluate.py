"""Scores of predicted probabilities, over all rows and by month."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

from examples.flights.features import Mask
from examples.flights.models import Probabilities

BINS = 10


@dataclass(frozen=True)
class Scores:
    """How well probabilities fit outcomes; all figures are shares or probabilities except `rows` and `log_loss`."""

    rows: int
    base_rate: float
    mean_prediction: float
    auc: float
    log_loss: float
    brier: float
    calibration_error: float
    average_precision: float

    def metrics(self, prefix: str) -> dict[str, float]:
        """The figures as metrics named `<prefix>_<figure>`."""
        return {f"{prefix}_{key}": float(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Evaluation:
    """Scores on all test rows, by month, and the rows they come from (for plots)."""

    overall: Scores
    by_month: dict[int, Scores]
    late: Mask
    probability: Probabilities
    threshold: float


def calibration_bins(late: Mask, probability: Probabilities) -> list[tuple[float, float, float]]:
    """(mean prediction, share late, share of rows) of each non-empty tenth of the probability scale."""
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    rows = [place == number for number in range(BINS)]
    return [(float(probability[m].mean()), float(late[m].mean()), float(m.mean())) for m in rows if m.any()]


def auc(late: Mask, probability: Probabilities) -> float:
    """Share of (late, punctual) pairs in the right order, ties counting half.

    Same as scikit-learn's roc_auc_score, without its checks: curves need it a thousand times.
    """
    _, place, count = np.unique(probability, return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(count) - (count - 1) / 2
    positives = int(late.sum())
    pairs = positives * (len(late) - positives)
    return float((middle_rank[place[late]].sum() - positives * (positives + 1) / 2) / pairs)


def log_loss(late: Mask, probability: Probabilities) -> float:
    """Mean negative log likelihood of the outcomes (natural logarithm)."""
    right = np.where(late, probability, 1 - probability)
    return float(-np.log(np.clip(right, np.finfo(np.float64).tiny, 1)).mean())


def score(late: Mask, probability: Probabilities) -> Scores:
    """All scores of one set of rows (both outcomes must occur)."""
    return Scores(
        rows=len(late),
        base_rate=float(late.mean()),
        mean_prediction=float(probability.mean()),
        auc=auc(late, probability),
        log_loss=log_loss(late, probability),
        brier=float(np.square(probability - late).mean()),
        calibration_error=sum(abs(mean - share) * part for mean, share, part in calibration_bins(late, probability)),
        average_precision=float(average_precision_score(late, probability)),
    )


def evaluate(late: Mask, probability: Probabilities, month: npt.NDArray[np.int64], threshold: float) -> Evaluation:
    """Scores over everything and by month; `threshold` is the probability from which a flight is called late."""
    months = {int(number): month == number for number in np.unique(month)}
    by_month = {number: score(late[rows], probability[rows]) for number, rows in months.items()}
    return Evaluation(score(late, probability), by_month, late, probability, threshold)


def curve(late: Mask, steps: Iterable[tuple[int, Probabilities]]) -> list[tuple[int, float, float]]:
    """(step, log loss, AUC) of each step's probabilities."""
    return [(step, log_loss(late, p), auc(late, p)) for step, p in steps]
