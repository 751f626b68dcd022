"""Evidence that grows with every look and may be judged at any of them: e-processes.

Each process here is a non-negative martingale with mean one (or less) while its hypothesis holds, so that it reaches
1/alpha at any time, ever, with probability alpha at most (Ville's inequality), however often somebody looks and however
weights or traffic change. Sources: A. Ramdas et al., "Game-theoretic statistics and safe anytime-valid inference",
Statistical Science 38 (2023); M. Lindon et al., "Rapid regression detection in software deployments through sequential
testing", arXiv 2205.14762.

Nothing here knows of clocks or of the network: the same looks give the same evidence, always.
"""

import math
from collections.abc import Sequence

import msgspec

#: How many times as high as the other's a rate may be, for the mixture over alternatives.
_RATIOS = tuple(1.2 * (200 / 1.2) ** (number / 39) for number in range(40))
#: Rates as shares of the limit that is to be kept, for the mixture over alternatives.
_SHARES = (0.025, 0.05, 0.125, 0.25, 0.375, 0.5, 0.75)
#: Rates as multiples of the limit that may be exceeded.
_MULTIPLES = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
#: Nothing is proved by more than this: exponentials stay finite.
_MOST_LOG = 700.0


class Evidence(msgspec.Struct, frozen=True):
    """An e-process: one logarithm of a likelihood ratio for each alternative in the mixture."""

    logs: tuple[float, ...]

    @property
    def e(self) -> float:
        """The e-value: how many times as likely what was seen is under the alternatives as under the hypothesis."""
        top = max(self.logs)
        if top == min(self.logs) == 0.0:
            return 1.0
        total = sum(math.exp(log - top) for log in self.logs)
        return math.exp(min(top + math.log(total / len(self.logs)), _MOST_LOG))


class Counts(msgspec.Struct, frozen=True):
    """Requests of one version in one look, and those among them that count: errors, slow ones, disagreements."""

    all: int
    hits: int


def nothing_higher() -> Evidence:
    """The hypothesis that the candidate's rate is no higher than the baseline's. No evidence against it yet."""
    return Evidence((0.0,) * len(_RATIOS))


def higher(evidence: Evidence, candidate: Counts, baseline: Counts) -> Evidence:
    """Evidence that the candidate's rate is higher than the baseline's, after one more look at both.

    While the rates are equal, each hit of the look is the candidate's with the probability of its share of the
    requests; nothing else is assumed, above all not that rates stay the same from look to look.
    """
    share = candidate.all / (candidate.all + baseline.all) if candidate.all and baseline.all else 0.0
    if not share or not (candidate.hits or baseline.hits):
        return evidence
    logs = []
    for log, ratio in zip(evidence.logs, _RATIOS, strict=True):
        other = ratio * share / (ratio * share + 1 - share)
        step = candidate.hits * math.log(other / share) + baseline.hits * math.log((1 - other) / (1 - share))
        logs.append(log + step)
    return Evidence(tuple(logs))


def nothing_below() -> Evidence:
    """The hypothesis that a rate is at its limit or above. No evidence against it yet."""
    return Evidence((0.0,) * len(_SHARES))


def below(evidence: Evidence, seen: Counts, limit: float) -> Evidence:
    """Evidence that the rate is below the limit, after one more look."""
    return _against(evidence, seen, limit, [share * limit for share in _SHARES])


def nothing_above() -> Evidence:
    """The hypothesis that a rate is at its limit or below. No evidence against it yet."""
    return Evidence((0.0,) * len(_MULTIPLES))


def above(evidence: Evidence, seen: Counts, limit: float) -> Evidence:
    """Evidence that the rate is above the limit, after one more look."""
    return _against(evidence, seen, limit, [_raised(limit, multiple) for multiple in _MULTIPLES])


def _raised(limit: float, multiple: float) -> float:
    """A rate above the limit and below one: the odds of the limit, multiplied."""
    odds = multiple * limit / (1 - limit)
    return odds / (1 + odds)


def _against(evidence: Evidence, seen: Counts, limit: float, rates: Sequence[float]) -> Evidence:
    misses = seen.all - seen.hits
    logs = (
        log + seen.hits * math.log(rate / limit) + misses * math.log((1 - rate) / (1 - limit))
        for log, rate in zip(evidence.logs, rates, strict=True)
    )
    return Evidence(tuple(logs))


def clean_requests_needed(evidence: Evidence, limit: float, wanted: float) -> int:
    """How many requests without a hit `below` would need to reach the e-value `wanted`; what is missing, in words."""
    if evidence.e >= wanted:
        return 0
    most = 1
    while below(evidence, Counts(most, 0), limit).e < wanted:
        most *= 2
    least = most // 2
    while least + 1 < most:
        middle = (least + most) // 2
        least, most = (least, middle) if below(evidence, Counts(middle, 0), limit).e >= wanted else (middle, most)
    return most


def mean(values: Sequence[tuple[float, float]]) -> float:
    """Several e-values about one decision as one: their weighted average is an e-value too, whatever ties them.

    Args:
        values: weights and e-values; the weights were chosen before anything was seen.
    """
    return sum(weight * value for weight, value in values) / sum(weight for weight, _ in values)
