"""Requests that a version brings along: its input example, and golden rows with what the model must say of them."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from mlwright.kernel.errors import Invalid, NotFound
from mlwright.registry.gates.spec import Tolerance

FORMATS = ("dataframe_split", "dataframe_records", "inputs", "instances")
#: Written by MLflow from 2.15 on: the input example as a request.
_SERVING = "serving_input_example.json"
_EXAMPLE = "input_example.json"
_MAX_BYTES = 64 << 20
_MOST_DIFFERENCES = 3


class Golden(NamedTuple):
    """A request and the predictions that are expected."""

    request: dict[str, Any]
    predictions: Any


def example(model: Path) -> dict[str, Any]:
    """The version's input example as a request of the scoring protocol. Raises NotFound when there is none."""
    if (model / _SERVING).is_file():
        found = _json(model / _SERVING)
        if isinstance(found, dict) and any(name in found for name in FORMATS):
            return found
        raise Invalid(f"{_SERVING} is no request of MLflow's scoring protocol", path=_SERVING)
    if not (model / _EXAMPLE).is_file():
        raise NotFound("the version has no input example", hint="log it with input_example=")
    found = _json(model / _EXAMPLE)
    is_table = isinstance(found, dict) and {"columns", "data"} <= found.keys()
    return {"dataframe_split": found} if is_table else {"inputs": found}


def golden(path: Path) -> list[Golden]:
    """The golden rows in a file. Raises Invalid."""
    found = _json(path)
    listed = found if isinstance(found, list) else [found]
    if not listed:
        raise Invalid("the file of golden rows is empty", path=path.name)
    return [_golden(each, place) for place, each in enumerate(listed)]


def _golden(each: Any, place: int) -> Golden:
    if not isinstance(each, dict) or "predictions" not in each or not any(name in each for name in FORMATS):
        hint = f"write one of {', '.join(FORMATS)}, and predictions"
        raise Invalid(f"entry {place} is no request with the predictions that are expected", hint=hint)
    return Golden({name: value for name, value in each.items() if name != "predictions"}, each["predictions"])


def rows(request: dict[str, Any]) -> int | None:
    """How many rows a request asks about; None where that is not known."""
    table = request.get("dataframe_split")
    if isinstance(table, dict) and isinstance(table.get("data"), list):
        return len(table["data"])
    listed = request.get("dataframe_records", request.get("inputs", request.get("instances")))
    return len(listed) if isinstance(listed, list) else None


def differences(expected: Any, found: Any, tolerance: Tolerance) -> list[str]:
    """Where two outputs are not the same; a few of many."""
    listed: list[str] = []
    _compare(expected, found, tolerance, "", listed)
    return listed


def _compare(expected: Any, found: Any, tolerance: Tolerance, where: str, listed: list[str]) -> None:
    if len(listed) >= _MOST_DIFFERENCES:
        return
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        for name in expected:
            _compare(expected[name], found[name], tolerance, f"{where}[{name!r}]", listed)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for place, pair in enumerate(zip(expected, found, strict=True)):
            _compare(*pair, tolerance, f"{where}[{place}]", listed)
    elif not _same(expected, found, tolerance):
        listed.append(f"{where or 'the output'} is {_short(found)} instead of {_short(expected)}")


def _same(expected: Any, found: Any, tolerance: Tolerance) -> bool:
    numbers = [each for each in (expected, found) if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(numbers) < 2:
        return type(expected) is type(found) and bool(expected == found)
    if not all(math.isfinite(each) for each in numbers):  # near infinity nothing is near; NaN is what it was
        return numbers[0] == numbers[1] or all(math.isnan(each) for each in numbers)
    return bool(abs(numbers[0] - numbers[1]) <= tolerance.absolute + tolerance.relative * abs(numbers[0]))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _json(path: Path) -> Any:
    """Python's own reader: MLflow's clients write NaN, too."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise Invalid(f"{path.name} is larger than {_MAX_BYTES >> 20} MiB", path=path.name)
        return json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise Invalid(f"{path.name} is no JSON: {str(error)[:200]}", path=path.name) from error
