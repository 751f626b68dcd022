"""The words of gates: what a policy asks for, and what a gate found."""

import math
from enum import StrEnum
from typing import Annotated

import msgspec

from mlwright.registry.gates.statistics import Interval

Confidence = Annotated[float, msgspec.Meta(gt=0, lt=1, description="Of intervals, two-sided, such as 0.95.")]
Count = Annotated[int, msgspec.Meta(ge=0)]
Margin = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Verdict(StrEnum):
    """What a gate says. Only `pass` opens it."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Measured(msgspec.Struct, frozen=True, omit_defaults=True):
    """A number with its interval; what is not known is absent."""

    value: float | None
    low: float | None = None
    high: float | None = None
    method: str = ""


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question of a gate and its answer. `required` says in words what was asked for."""

    name: str
    verdict: Verdict
    required: str
    found: str
    measured: Measured | None = None


class Finding(msgspec.Struct, frozen=True):
    """What a gate found: its verdict is that of its checks, and `reason` what decided it."""

    verdict: Verdict
    reason: str
    checks: list[Check]


class _Spec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    pass


class Threshold(_Spec, frozen=True):
    """A bound on a metric: `min` or `max` or both."""

    metric: str
    min: float | None = None
    max: float | None = None


class NoWorseThan(_Spec, frozen=True):
    """The metric may be worse than that of the version under `alias` by at most `margin`."""

    metric: str
    alias: str = "champion"
    margin: Margin = 0.0


class Slices(_Spec, frozen=True):
    """Bounds that every value of some columns must keep; values with fewer than `min_rows` rows are not judged."""

    columns: list[str]
    thresholds: list[Threshold]
    min_rows: Count = 100


class Fairness(_Spec, frozen=True):
    """How far groups, the values of a column, may be apart.

    `demographic_parity`: the largest difference of selection rates. `equalized_odds`: that of recalls and of false
    positive rates.
    """

    column: str
    demographic_parity: Share | None = None
    equalized_odds: Share | None = None
    min_rows: Count = 100


class Columns(_Spec, frozen=True):
    """Names in the evaluation. `score` is the probability of the positive class; `key` tells rows apart."""

    label: str = "label"
    prediction: str = "prediction"
    score: str = ""
    key: str = ""


class Validation(_Spec, frozen=True):
    """Decides on the stored evaluation of single rows, a CSV or Parquet file of the version or its run.

    `positive` is the label of the positive class; without it, labels are numbers.
    """

    evaluation: str = "evaluation.csv"
    columns: Columns = Columns()
    positive: str = ""
    confidence: Confidence = 0.95
    thresholds: list[Threshold] = []
    no_worse_than: list[NoWorseThan] = []
    slices: list[Slices] = []
    fairness: list[Fairness] = []


def conclude(checks: list[Check]) -> Finding:
    """The worst verdict of the checks. A gate that asked nothing has not been passed."""
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        decisive = [check for check in checks if check.verdict is verdict]
        if decisive:
            more = f" (and {len(decisive) - 1} more)" if len(decisive) > 1 else ""
            first = decisive[0]
            return Finding(verdict, f"{first.name}: {first.found}, required: {first.required}{more}", checks)
    if not checks:
        return Finding(Verdict.INCONCLUSIVE, "the gate asks for nothing", checks)
    return Finding(Verdict.PASS, f"all {len(checks)} checks passed", checks)


def undecided(name: str, required: str, found: str) -> Check:
    """A question that cannot be answered."""
    return Check(name, Verdict.INCONCLUSIVE, required, found)


def judged(name: str, required: str, interval: Interval, least: float | None, most: float | None) -> Check:
    """Whether the whole interval lies within [least, most], or outside of it, or neither is certain."""
    value, low, high, method = interval
    measured = Measured(_known(value), _known(low), _known(high), method)
    if any(math.isnan(number) for number in (value, low, high)):
        return Check(name, Verdict.INCONCLUSIVE, required, "not known on these rows", measured)
    bottom, top = -math.inf if least is None else least, math.inf if most is None else most
    verdict = Verdict.INCONCLUSIVE
    if bottom <= low and high <= top:
        verdict = Verdict.PASS
    elif high < bottom or low > top:
        verdict = Verdict.FAIL
    return Check(name, verdict, required, f"{value:.6g} ({low:.6g} to {high:.6g})", measured)


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number
