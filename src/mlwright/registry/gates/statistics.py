"""How sure we are of a metric, and of the difference between two models on the same rows.

Every interval is two-sided at the stated confidence. Sources: B. Efron and R. Tibshirani, An Introduction to the
Bootstrap (1993), ch. 14 (BCa); E. DeLong et al., Biometrics 44 (1988), with the algorithm of X. Sun and W. Xu, IEEE
Signal Processing Letters 21 (2014); Q. McNemar, Psychometrika 12 (1947), as an exact binomial test.
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlwright.kernel.errors import Invalid
from mlwright.registry.gates.metrics import Floats, Metric, Rows
from mlwright.registry.gates.spec import Interval

RESAMPLES = 2_000
#: Rows are resampled in at most so many random blocks: the sums of a block stand for its rows.
BLOCKS = 1_000
#: From this share of undefined resamples on, the interval is not known.
_MOST_UNDEFINED = 0.05
_NORMAL = NormalDist()


def estimate(metric: Metric, rows: Rows, confidence: float, seed: int) -> Interval:
    """The metric over the rows."""
    return _bootstrap(metric.terms(rows), metric.value, confidence, seed)


def difference(metric: Metric, candidate: Rows, baseline: Rows, confidence: float, seed: int) -> Interval:
    """The metric of `candidate` less that of `baseline`, both over the same rows in the same order."""
    _check_paired(candidate, baseline)
    terms = np.concatenate([metric.terms(candidate), metric.terms(baseline)], axis=1)
    middle = terms.shape[1] // 2
    return _bootstrap(
        terms, lambda sums: metric.value(sums[..., :middle]) - metric.value(sums[..., middle:]), confidence, seed
    )


def spread(metric: Metric, groups: Sequence[Rows], confidence: float, seed: int) -> Interval:
    """The largest metric of several groups less the smallest, such as demographic parity (of the selection rate)."""
    width = metric.terms(groups[0]).shape[1]
    terms = np.zeros((sum(len(rows.labels) for rows in groups), width * len(groups)))
    first = 0
    for number, rows in enumerate(groups):
        last = first + len(rows.labels)
        terms[first:last, width * number : width * (number + 1)] = metric.terms(rows)
        first = last

    def value(sums: Floats) -> Floats:
        each = metric.value(sums.reshape(*sums.shape[:-1], len(groups), width))
        found: Floats = each.max(axis=-1) - each.min(axis=-1)
        return found

    return _bootstrap(terms, value, confidence, seed)


def _bootstrap(terms: Floats, value: Callable[[Floats], Floats], confidence: float, seed: int) -> Interval:
    """Bias-corrected and accelerated bootstrap of a function of sums over rows."""
    random = np.random.default_rng(seed)
    sums = _blocks(terms, random)
    count = len(sums)
    observed = float(value(sums.sum(axis=0)))
    name = f"BCa bootstrap, {RESAMPLES} resamples of {count} {'rows' if count == len(terms) else 'blocks of rows'}"
    drawn = random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)
    resampled = value(drawn @ sums)
    defined = resampled[~np.isnan(resampled)]
    if count < 2 or math.isnan(observed) or len(defined) < RESAMPLES * (1 - _MOST_UNDEFINED):
        return Interval(observed, math.nan, math.nan, name)
    low, high = _bca(observed, np.sort(defined), value(sums.sum(axis=0) - sums), confidence)
    return Interval(observed, low, high, name)


def _blocks(terms: Floats, random: np.random.Generator) -> Floats:
    """The sums of random blocks of rows, all of nearly the same size."""
    count = len(terms)
    if count <= BLOCKS:
        return terms
    starts = np.linspace(0, count, BLOCKS, endpoint=False).astype(np.intp)
    found: Floats = np.add.reduceat(terms[random.permutation(count)], starts, axis=0)
    return found


def _bca(observed: float, resampled: Floats, left_out: Floats, confidence: float) -> tuple[float, float]:
    below = (np.count_nonzero(resampled < observed) + np.count_nonzero(resampled <= observed)) / 2
    share = min(max(below / len(resampled), 0.5 / len(resampled)), 1 - 0.5 / len(resampled))
    bias = _NORMAL.inv_cdf(share)
    away = left_out[~np.isnan(left_out)].mean() - left_out[~np.isnan(left_out)]
    scale = float((away**2).sum()) ** 1.5
    acceleration = float((away**3).sum()) / (6 * scale) if scale > 0 else 0.0

    def bound(level: float) -> float:
        shifted = bias + _NORMAL.inv_cdf(level)
        adjusted = _NORMAL.cdf(bias + shifted / (1 - acceleration * shifted))
        return float(np.quantile(resampled, adjusted))

    return bound((1 - confidence) / 2), bound((1 + confidence) / 2)


def _check_paired(candidate: Rows, baseline: Rows) -> None:
    if len(candidate.labels) != len(baseline.labels) or not np.array_equal(candidate.labels, baseline.labels):
        raise Invalid("the two models were not evaluated on the same rows", hint="evaluate both on one dataset")


# --- the area under the ROC curve ---------------------------------------------------------------------------------


def roc_auc(rows: Rows, confidence: float) -> Interval:
    """The area under the ROC curve, by DeLong's variance. Needs scores and both classes, else NaN."""
    area, variance = _delong([rows])
    return _around(float(area[0]), float(variance[0, 0]), confidence, "DeLong", 0.0, 1.0)


def roc_auc_difference(candidate: Rows, baseline: Rows, confidence: float) -> Interval:
    """The area of `candidate` less that of `baseline`, over the same rows."""
    _check_paired(candidate, baseline)
    area, variance = _delong([candidate, baseline])
    of_difference = variance[0, 0] + variance[1, 1] - 2 * variance[0, 1]
    return _around(float(area[0] - area[1]), float(of_difference), confidence, "DeLong, paired", -1.0, 1.0)


def _around(value: float, variance: float, confidence: float, method: str, least: float, most: float) -> Interval:
    half = _NORMAL.inv_cdf((1 + confidence) / 2) * math.sqrt(max(variance, 0.0))
    return Interval(value, max(value - half, least), min(value + half, most), method)


def _delong(models: Sequence[Rows]) -> tuple[Floats, Floats]:
    """The areas of several models on the same rows, and their covariance."""
    positive = models[0].labels == 1
    ahead, behind = int(positive.sum()), int((~positive).sum())
    unknown = np.full((len(models), len(models)), math.nan)
    if ahead < 2 or behind < 2:
        return unknown[0], unknown
    of_positive, of_negative = np.empty((len(models), ahead)), np.empty((len(models), behind))
    for number, rows in enumerate(models):
        assert rows.scores is not None  # who asks has looked
        among_all = _midranks(rows.scores)
        of_positive[number] = (among_all[positive] - _midranks(rows.scores[positive])) / behind
        of_negative[number] = 1 - (among_all[~positive] - _midranks(rows.scores[~positive])) / ahead
    covariance = np.atleast_2d(np.cov(of_positive)) / ahead + np.atleast_2d(np.cov(of_negative)) / behind
    return of_positive.mean(axis=1), covariance


def _midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    found: Floats = (last - (counts - 1) / 2)[inverse]
    return found


# --- an exact test for accuracy -----------------------------------------------------------------------------------


class McNemar(NamedTuple):
    """Rows that only one of two models got right, and how likely a split as uneven is by chance (two-sided)."""

    only_candidate: int
    only_baseline: int
    p_value: float


def mcnemar(candidate: Rows, baseline: Rows) -> McNemar:
    """McNemar's exact test of equal accuracy on the same rows."""
    _check_paired(candidate, baseline)
    mine, other = candidate.predictions == candidate.labels, baseline.predictions == baseline.labels
    better, worse = int((mine & ~other).sum()), int((~mine & other).sum())
    return McNemar(better, worse, min(1.0, 2 * binomial_tail(min(better, worse), better + worse)))


def binomial_tail(most: int, trials: int) -> float:
    """The probability of at most `most` heads in so many tosses of a fair coin."""
    if most >= trials:
        return 1.0
    heads: NDArray[np.float64] = np.arange(1, most + 1, dtype=np.float64)
    # log of C(n, k), from that of C(n, k - 1): products of whole numbers would overflow.
    logs = np.concatenate([[0.0], np.cumsum(np.log((trials - heads + 1) / heads))]) - trials * math.log(2)
    largest = float(logs.max())
    return min(1.0, math.exp(largest) * float(np.exp(logs - largest).sum()))
