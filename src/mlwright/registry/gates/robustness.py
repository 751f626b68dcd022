"""A part of the gate `validation`: how much worse does the model get when a column is missing, or permuted?

The one part of it that runs the model: on rows of the stored evaluation, which must hold the model's inputs too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlwright.kernel.errors import Invalid
from mlwright.registry.gates import hosting, schemas
from mlwright.registry.gates.comparing import Question, needs_scores, worse_by_at_most
from mlwright.registry.gates.evaluation import Evaluation, class_number
from mlwright.registry.gates.hosting import Host
from mlwright.registry.gates.metrics import Floats, Rows
from mlwright.registry.gates.room import Room
from mlwright.registry.gates.spec import Check, Decision, GateVerdict, Robustness, Validation, undecided

#: How far a stored prediction may be from what the model says now: files are written with few digits.
_ROUNDED = 1e-3
_THRESHOLD = 0.5
_Column = list[Any]


class _Sample(NamedTuple):
    """Rows that the model is asked about: its inputs by name, and what was stored of these rows."""

    inputs: Mapping[str, _Column]
    stored: Rows


def decide(room: Room, asked: Validation, candidate: Evaluation) -> Decision:
    """Run the model on rows as they are, then with each column missing or permuted."""
    columns = schemas.parts(room.version.facts.signature, "inputs")

    def questions(host: Host) -> list[Check]:
        return [
            check for each in asked.robustness for check in _asked(host, each, asked, candidate, columns, room.seed)
        ]

    return hosting.decide(room, asked.hosting, questions)


def _asked(
    host: Host,
    robustness: Robustness,
    asked: Validation,
    candidate: Evaluation,
    columns: Sequence[Mapping[str, Any]],
    seed: int,
) -> list[Check]:
    name, required = f"{robustness.metric} of the model", "it can be computed on the rows as they are"
    try:
        random = np.random.default_rng(seed)
        sample = _sampled(candidate, columns, robustness, random)
        base = _rows(host, sample.inputs, sample.stored, robustness.metric, asked)
    except Invalid as error:
        return [undecided(name, required, error.message)]
    named = robustness.columns or list(sample.inputs)
    ways = [("missing", robustness.missing, _missing), ("permuted", robustness.permuted, _permuted(random))]
    used = [(way, most, change) for way, most, change in ways if most is not None]
    question = Question(asked.confidence, seed).shared(len(named) * len(used))
    checks = [_is_its_own(sample.stored, base, robustness.metric)]
    for column in named:
        for way, most, change in used:
            title = f"{robustness.metric} with {column} {way}"
            try:
                inputs = {**sample.inputs, column: change(sample.inputs[column])}
                mine = _rows(host, inputs, sample.stored, robustness.metric, asked)
            except Invalid as error:
                checks.append(Check(title, GateVerdict.FAIL, f"worse by at most {most:g}", error.message))
            else:
                checks.append(worse_by_at_most(most, title, robustness.metric, mine, base, question))
    return checks


def _sampled(
    candidate: Evaluation,
    columns: Sequence[Mapping[str, Any]],
    robustness: Robustness,
    random: np.random.Generator,
) -> _Sample:
    named = {str(column["name"]): str(column.get("type")) for column in columns if column.get("name")}
    if not named:
        raise Invalid("the signature does not name the model's inputs")
    unknown = [column for column in robustness.columns if column not in named]
    if unknown:
        raise Invalid(f"the model has no input {unknown[0]!r}")
    count = len(candidate.rows.labels)
    index: NDArray[np.intp] = np.arange(count)
    if count > robustness.rows:
        index = np.sort(random.choice(count, robustness.rows, replace=False))
    inputs = {name: [_cell(text, kind, name) for text in candidate.column(name)[index]] for name, kind in named.items()}
    return _Sample(inputs, candidate.rows.take(index))


def _cell(text: str, kind: str, name: str) -> Any:
    """A cell of a table as the type that the signature says; empty cells are nothing."""
    try:
        match kind:
            case _ if not text and kind != "string":
                return None
            case "integer" | "long":
                return int(text)
            case "float" | "double":
                return float(text)
            case "boolean":
                return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    except (ValueError, KeyError):
        raise Invalid(f"{text[:50]!r} in the column {name!r} is no {kind}") from None
    return str(text)


def _missing(values: _Column) -> _Column:
    return [None] * len(values)


def _permuted(random: np.random.Generator) -> Callable[[_Column], _Column]:
    return lambda values: [values[place] for place in random.permutation(len(values))]


def _rows(host: Host, inputs: Mapping[str, _Column], stored: Rows, metric: str, asked: Validation) -> Rows:
    """What the model says of these rows. Raises Invalid when it refuses them, or answers in a way that does not fit."""
    table = {"columns": list(inputs), "data": list(zip(*inputs.values(), strict=True))}
    reply = host.ask({"dataframe_split": table})
    if not isinstance(reply.predictions, list):
        raise Invalid(f"the model refuses them: {reply.explain()}")
    if len(reply.predictions) != len(stored.labels):
        raise Invalid(f"it made {len(reply.predictions)} predictions for {len(stored.labels)} rows")
    if needs_scores(metric):
        scores = _scores(reply.predictions, asked.columns.score)
        return Rows(stored.labels, stored.labels, scores)
    return Rows(stored.labels, _said(reply.predictions, asked, stored))


def _scores(predictions: list[Any], column: str) -> Floats:
    """Probabilities of the positive class: the named column, or the second of two, or the only one."""
    values = [_of_row(each, column) for each in predictions]
    if any(isinstance(value, list) and len(value) != 2 for value in values):
        raise Invalid("the model's output is not one probability, or one of each of two classes")
    numbers = _numbers([value[1] if isinstance(value, list) else value for value in values])
    if not ((numbers >= 0) & (numbers <= 1)).all():
        raise Invalid("the model's output is no probability")
    return numbers


def _said(predictions: list[Any], asked: Validation, stored: Rows) -> Floats:
    """Predictions as numbers, as of an evaluation; of probabilities of two classes, the more probable one."""
    values = [_of_row(each, asked.columns.prediction) for each in predictions]
    if any(isinstance(value, list) for value in values):
        others = np.setdiff1d(np.concatenate([stored.labels, stored.predictions]), [1.0])
        likely = _scores(predictions, asked.columns.score) >= _THRESHOLD
        return np.asarray(np.where(likely, 1.0, others[0] if len(others) else 0.0), dtype=np.float64)
    if asked.positive:
        return np.array([class_number(_text(value), asked.positive) for value in values], dtype=np.float64)
    return _numbers(values)


def _of_row(prediction: Any, column: str) -> Any:
    """The output for one row: a value, or a list of several."""
    if isinstance(prediction, dict):
        values = list(prediction.values())
        return prediction[column] if column in prediction else values[0] if len(values) == 1 else values
    return prediction[0] if isinstance(prediction, list) and len(prediction) == 1 else prediction


def _numbers(values: list[Any]) -> Floats:
    try:
        numbers: Floats = np.array(values, dtype=np.float64)
    except (ValueError, TypeError):
        raise Invalid("the model's output is not a number for each row") from None
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise Invalid("the model's output is not a finite number for each row")
    return numbers


def _text(value: Any) -> str:
    """A class as CSV files have it."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _is_its_own(stored: Rows, base: Rows, metric: str) -> Check:
    """An evaluation of another model would say nothing about this one."""
    name, required = "the evaluation is of this model", "it says of these rows what was stored"
    then, now = (stored.scores, base.scores) if needs_scores(metric) else (stored.predictions, base.predictions)
    if then is None or now is None:
        return undecided(name, required, "the evaluation has no probabilities")
    differ = int((np.abs(then - now) > _ROUNDED * np.maximum(np.abs(then), 1)).sum())
    verdict = GateVerdict.FAIL if differ else GateVerdict.PASS
    return Check(name, verdict, required, f"{differ} of {len(then)} rows differ")
