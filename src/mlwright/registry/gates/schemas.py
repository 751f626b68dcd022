"""MLflow's signatures: whether an output is as one says, and whether one still takes what another took.

https://mlflow.org/docs/latest/ml/model/signatures/
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_MOST_PROBLEMS = 20
#: What MLflow converts by itself when it enforces a schema, without loss.
_WIDENED = {("integer", "long"), ("integer", "double"), ("float", "double")}


def parts(signature: Mapping[str, object] | None, name: str) -> list[dict[str, Any]]:
    """The inputs, outputs or params of a signature; empty when it has none."""
    found = (signature or {}).get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


# --- an output ----------------------------------------------------------------------------------------------------


def problems(outputs: Sequence[Mapping[str, Any]], predictions: Any, rows: int | None) -> list[str]:
    """In what predictions are not as the outputs of a signature say.

    Args:
        rows: how many are expected; None when that is not known.
    """
    found = list(_all_problems(outputs, predictions, rows))
    return found[:_MOST_PROBLEMS]


def _all_problems(outputs: Sequence[Mapping[str, Any]], predictions: Any, rows: int | None) -> Iterator[str]:
    if len(outputs) == 1 and _is_list_of_values(outputs[0], predictions):
        if rows is not None and len(predictions) != rows:
            yield f"{len(predictions)} predictions for {rows} rows"
        yield from _of_column(outputs[0], predictions, str(outputs[0].get("name") or "the output"))
        return
    columns = _columns(predictions)
    if columns is None:
        yield f"the output is {_kind(predictions)} instead of columns {', '.join(_names(outputs))}"
        return
    lengths = {len(values) for values in columns.values()}
    if rows is not None and lengths - {rows}:
        yield f"{max(lengths)} predictions for {rows} rows"
    for column in outputs:
        name = str(column.get("name"))
        if name in columns:
            yield from _of_column(column, columns[name], name)
        elif column.get("required", True):
            yield f"there is no column {name!r}"
    for name in columns.keys() - set(_names(outputs)):
        yield f"the column {name!r} is not in the signature"


def _is_list_of_values(column: Mapping[str, Any], predictions: Any) -> bool:
    """Whether one column came as the list of its values, as MLflow writes arrays and series."""
    if not isinstance(predictions, list):
        return False
    return column.get("type") in {"object", "map"} or not any(isinstance(each, dict) for each in predictions)


def _columns(predictions: Any) -> dict[str, list[Any]] | None:
    """A table as its columns: it comes as a list of records, or as an object of lists."""
    if isinstance(predictions, dict) and all(isinstance(values, list) for values in predictions.values()):
        return {str(name): values for name, values in predictions.items()}
    if isinstance(predictions, list) and predictions and all(isinstance(row, dict) for row in predictions):
        names = dict.fromkeys(name for row in predictions for name in row)
        return {name: [row.get(name) for row in predictions] for name in names}
    return None


def _of_column(column: Mapping[str, Any], values: list[Any], name: str) -> Iterator[str]:
    if column.get("type") == "tensor":
        specification = column.get("tensor-spec")
        yield from _of_tensor(specification if isinstance(specification, dict) else {}, values, name)
        return
    wrong = next((each for each in values if not _fits(str(column.get("type")), each, column)), None)
    if wrong is not None:
        yield f"{name}: {str(wrong)[:50]!r} is {_kind(wrong)}, not {column.get('type')}"
    elif column.get("required", True) and any(each is None for each in values) and column.get("type") not in _FLOATS:
        yield f"{name}: a value is missing"


_FLOATS = {"float", "double"}


def _fits(kind: str, value: Any, column: Mapping[str, Any]) -> bool:
    if value is None:
        return True
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "integer" | "long":
            return is_number and float(value).is_integer()
        case "float" | "double":
            return is_number
        case "boolean":
            return isinstance(value, bool)
        case "string" | "binary":
            return isinstance(value, str)
        case "datetime":
            return isinstance(value, str) or is_number
        case "array":
            items = column.get("items")
            inner: Mapping[str, Any] = items if isinstance(items, dict) else {}
            return isinstance(value, list) and all(_fits(str(inner.get("type")), each, inner) for each in value)
        case "object" | "map":
            return isinstance(value, dict)
    return True  # "any", and what a later MLflow may bring


def _of_tensor(specification: Mapping[str, Any], values: list[Any], name: str) -> Iterator[str]:
    shape, dtype = specification.get("shape"), str(specification.get("dtype"))
    expected = [each for each in shape if isinstance(each, int)] if isinstance(shape, list) else []
    found = _shape(values)
    if len(found) != len(expected) or any(want not in {-1, have} for want, have in zip(expected, found, strict=False)):
        yield f"{name}: the shape is {found} instead of {expected}"
        return
    kind = {"b": "boolean", "i": "long", "u": "long", "f": "double", "s": "string"}.get(dtype[:1], "any")
    wrong = next((each for each in _flat(values) if not _fits(kind, each, {})), None)
    if wrong is not None:
        yield f"{name}: {str(wrong)[:50]!r} is {_kind(wrong)}, not {dtype}"


def _shape(values: Any) -> list[int]:
    """The shape of nested lists; where they are ragged, that of the first."""
    return [len(values), *(_shape(values[0]) if values else [])] if isinstance(values, list) else []


def _flat(values: Any) -> Iterator[Any]:
    if isinstance(values, list):
        for each in values:
            yield from _flat(each)
    else:
        yield values


def _kind(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "not finite"
    names = {
        bool: "a boolean",
        int: "a whole number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), "nothing")


def _names(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(column.get("name") or place) for place, column in enumerate(columns)]


# --- two versions -------------------------------------------------------------------------------------------------


def breaks(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Why what was sent to a model with the signature `before`, or read from it, does not suit `after`."""
    found = list(_broken_inputs(parts(before, "inputs"), parts(after, "inputs")))
    old, new = _by_name(parts(before, "params")), _by_name(parts(after, "params"))
    found += [f"the parameter {name!r} is gone" for name in old.keys() - new.keys()]
    found += [f"the parameter {name!r} {_retyped(old[name], new[name])}" for name in _changed(old, new, widened=True)]
    old, new = _by_name(parts(before, "outputs")), _by_name(parts(after, "outputs"))
    found += [f"the output {name!r} is gone" for name in old.keys() - new.keys()]
    found += [f"the output {name!r} {_retyped(old[name], new[name])}" for name in _changed(old, new, widened=False)]
    return found


def _broken_inputs(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    old, new = _by_name(before), _by_name(after)
    for name, column in new.items():
        required = column.get("required", True)
        if name not in old and required:
            yield f"the required column {name!r} was added"
        elif name in old and required and not old[name].get("required", True):
            yield f"the column {name!r} has become required"
    for name, column in old.items():
        if name not in new and column.get("required", True):
            yield f"the required column {name!r} was removed"
    for name in _changed(old, new, widened=True):
        yield f"the column {name!r} {_retyped(old[name], new[name])}"


def _by_name(columns: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return dict(zip(_names(columns), columns, strict=True))


def _changed(old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]], *, widened: bool) -> list[str]:
    """Columns of both that are of another type, unless what is sent is converted to it."""
    both = [name for name in old if name in new and _type(old[name]) != _type(new[name])]
    return [name for name in both if not (widened and (_type(old[name]), _type(new[name])) in _WIDENED)]


def _retyped(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    return f"was {_type(old)} and is {_type(new)}"


def _type(column: Mapping[str, Any]) -> str:
    specification = column.get("tensor-spec")
    if column.get("type") == "tensor" and isinstance(specification, dict):
        return f"tensor {specification.get('dtype')} {specification.get('shape')}"
    nested = {name: column[name] for name in ("items", "properties", "values") if name in column}
    return f"{column.get('type')} {nested}" if nested else str(column.get("type"))
