"""The gate `validation`: is the model good enough, no worse than the one in place, and so for everybody?"""

from collections.abc import Mapping, Sequence

import numpy as np

from mlwright.kernel.errors import Invalid
from mlwright.registry.gates import robustness, statistics
from mlwright.registry.gates.comparing import Question, lacks_scores, worse_by_at_most
from mlwright.registry.gates.evaluation import Evaluation, paired, read
from mlwright.registry.gates.metrics import METRICS, Rows
from mlwright.registry.gates.names import ROC_AUC
from mlwright.registry.gates.room import Room
from mlwright.registry.gates.spec import (
    Check,
    Decision,
    Fairness,
    GateVerdict,
    Interval,
    NoWorseThan,
    Slices,
    Threshold,
    Validation,
    conclude,
    judged,
    preceded,
    undecided,
)
from mlwright.registry.spec import ModelVersion


def decide(room: Room, asked: Validation) -> Decision:
    """Read the evaluations and answer all questions of the gate."""
    candidate = _evaluation(room, room.version, asked, "candidate")
    baselines: dict[str, Evaluation | None] = {}
    for alias in asked.beside:
        other = room.beside(alias)
        baselines[alias] = _evaluation(room, other, asked, f"@{alias}") if other else None
    decision = validate(asked, candidate, baselines, room.seed)
    if not asked.robustness or decision.verdict is GateVerdict.FAIL:
        return decision
    return preceded(decision.checks, robustness.decide(room, asked, candidate))


def _evaluation(room: Room, version: ModelVersion, asked: Validation, name: str) -> Evaluation:
    return read(room.fetch(version, asked.evaluation, room.folder / name), asked.columns, asked.positive)


def validate(
    spec: Validation, candidate: Evaluation, baselines: Mapping[str, Evaluation | None], seed: int
) -> Decision:
    """Answer all questions of the gate.

    Args:
        spec: the questions.
        candidate: the evaluation of the version in question.
        baselines: by alias, that of the version there; None where there is no version, which is no reason to fail.
        seed: of resampling.
    """
    question = Question(spec.confidence, seed)
    checks = [_threshold(each, candidate.rows, question, "") for each in spec.thresholds]
    checks += [_no_worse(other, candidate, baselines, question) for other in spec.no_worse_than]
    for cut in spec.slices:
        checks += _slices(cut, candidate, question)
    for group in spec.fairness:
        checks += _fairness(group, candidate, question)
    return conclude(checks)


def _threshold(threshold: Threshold, rows: Rows, question: Question, where: str) -> Check:
    name = f"{threshold.metric}{where}"
    bounds = [f"≥ {threshold.min:g}" if threshold.min is not None else ""]
    bounds.append(f"≤ {threshold.max:g}" if threshold.max is not None else "")
    required = " and ".join(filter(None, bounds))
    if lacks_scores(threshold.metric, rows):
        return undecided(name, required, "the evaluation has no probabilities")
    return judged(name, required, _estimate(threshold.metric, rows, question), threshold.min, threshold.max)


def _estimate(metric: str, rows: Rows, question: Question) -> Interval:
    if metric == ROC_AUC:
        return statistics.roc_auc(rows, question.confidence)
    return statistics.estimate(METRICS[metric], rows, *question)


def _no_worse(
    other: NoWorseThan, candidate: Evaluation, baselines: Mapping[str, Evaluation | None], question: Question
) -> Check:
    name = f"{other.metric} beside @{other.alias}"
    required = f"worse by at most {other.margin:g}"
    baseline = baselines[other.alias]
    if baseline is None:
        return _nobody_there(name, required, other.alias)
    try:
        mine, its = paired(candidate, baseline)
    except Invalid as error:
        return undecided(name, required, error.message)
    if lacks_scores(other.metric, mine, its):
        return undecided(name, required, "an evaluation has no probabilities")
    return worse_by_at_most(other.margin, name, other.metric, mine, its, question)


def _nobody_there(name: str, required: str, alias: str) -> Check:
    return Check(name, GateVerdict.PASS, required, f"no version is @{alias} yet")


def _slices(cut: Slices, candidate: Evaluation, question: Question) -> list[Check]:
    """Each slice at a confidence that makes all of them together hold at the stated one."""
    groups = [(column, *group) for column in cut.columns for group in _groups(candidate, column, cut.min_rows)]
    if not groups:
        return [undecided(f"slices by {', '.join(cut.columns)}", f"{cut.min_rows} rows", "no slice has as many")]
    together = question.shared(len(groups) * len(cut.thresholds))
    return [
        _threshold(threshold, rows, together, f" where {column} = {value}")
        for column, value, rows in groups
        for threshold in cut.thresholds
    ]


def _groups(candidate: Evaluation, column: str, min_rows: int) -> list[tuple[str, Rows]]:
    """The values of a column with at least so many rows, and these rows."""
    values, number = np.unique(candidate.column(column), return_inverse=True)
    counts = np.bincount(number, minlength=len(values))
    return [
        (str(value), candidate.rows.take(number == place))
        for place, value in enumerate(values)
        if counts[place] >= max(min_rows, 1)
    ]


def _fairness(group: Fairness, candidate: Evaluation, question: Question) -> list[Check]:
    rows = [each for _, each in _groups(candidate, group.column, group.min_rows)]
    asked: Sequence[tuple[str, float | None, Sequence[str]]] = (
        ("demographic parity", group.demographic_parity, ["selection_rate"]),
        ("equalized odds", group.equalized_odds, ["recall_score", "false_positive_rate"]),
    )
    checks = []
    for title, most, metrics in asked:
        for metric in metrics if most is not None else ():
            name = f"{title} by {group.column}: {metric}"
            required = f"groups differ by at most {most:g}"
            if len(rows) < 2:
                checks.append(undecided(name, required, f"fewer than two groups have {group.min_rows} rows"))
            else:
                checks.append(judged(name, required, _spread(metric, rows, question), None, most))
    return checks


def _spread(metric: str, rows: Sequence[Rows], question: Question) -> Interval:
    return statistics.spread(METRICS[metric], rows, *question)
