"""A request that a version understands: from its input example, or made up from its signature."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from mlwright.kernel.errors import MlwrightError
from mlwright.serving.host import plain
from mlwright.serving.host.takes import Input, Takes
from mlwright.serving.host.tensors import TEXT, Asked, count, packed, unpacked
from mlwright.serving.host.versions import Version

_MOST_BYTES = 256 << 10
#: Length of an axis that may have any.
_ANY = 2


def example(version: Version, *, real: bool) -> Asked | None:
    """One row for the version; None when nothing is known of its inputs.

    Args:
        real: it may be a row of the input example, which may be somebody's data.
    """
    found = _given(version) if real else None
    return found or _made_up(version.takes)


def _given(version: Version) -> Asked | None:
    file = version.revision.example
    if not file:
        return None
    with suppress(OSError, MlwrightError, msgspec.DecodeError):
        if Path(file).stat().st_size > _MOST_BYTES:
            return None
        document = msgspec.json.decode(Path(file).read_bytes())
        if isinstance(document, dict) and "data" in document:  # as MLflow stores tables
            document = {"dataframe_split": {"columns": document.get("columns"), "data": document["data"]}}
        return first_row(plain.read_invocation(msgspec.json.encode(document), {}, version.takes).asked)
    return None


def first_row(asked: Asked) -> Asked:
    """The first row alone."""
    parts: list[bytes | list[Any]] = []
    for array, row in zip(asked.arrays, asked.shape.rows, strict=True):
        size = count(row) * (1 if isinstance(array, list) else len(array) // max(count(row) * asked.rows, 1))
        parts.append(array[:size])
    return Asked(asked.shape, 1, tuple(parts))


def _made_up(takes: Takes) -> Asked | None:
    if not takes.inputs:
        return None
    with suppress(MlwrightError):
        if takes.table:
            return takes.rows(None, [[_value(each.datatype) for each in takes.inputs]])
        return takes.tensors([_tensor(each) for each in takes.inputs])
    return None


def _value(datatype: str) -> Any:
    return {TEXT: "text", "BOOL": False}.get(datatype, 0 if "INT" in datatype else 0.0)


def _tensor(each: Input) -> tuple[str, str, list[int], Any]:
    shape = [1, *(length if length >= 0 else _ANY for length in each.row)]
    values = [_value(each.datatype)] * count(shape)
    return each.name, each.datatype, shape, values if each.datatype == TEXT else packed(each.datatype, values, "")


def as_tensors(asked: Asked) -> dict[str, Any]:
    """The request in the words of the Open Inference Protocol."""
    shape = asked.shape
    return {
        "inputs": [
            {"name": name or "input", "datatype": kind, "shape": [asked.rows, *row], "data": _values(kind, array)}
            for name, kind, row, array in zip(shape.names, shape.datatypes, shape.rows, asked.arrays, strict=True)
        ]
    }


def as_invocation(asked: Asked) -> dict[str, Any]:
    """The request in MLflow's words."""
    tensors = as_tensors(asked)["inputs"]
    if not asked.shape.table:
        if len(tensors) == 1:
            return {"inputs": _nested(tensors[0]["data"], tensors[0]["shape"])}
        return {"inputs": {each["name"]: _nested(each["data"], each["shape"]) for each in tensors}}
    columns = [each["data"] for each in tensors]
    rows = _nested(columns[0], tensors[0]["shape"]) if len(asked.shape.names) < len(asked.shape.table) else None
    rows = rows or [list(row) for row in zip(*columns, strict=True)]
    return {"dataframe_split": {"columns": list(asked.shape.table), "data": rows}}


def _values(datatype: str, array: bytes | list[Any]) -> list[Any]:
    return array if isinstance(array, list) else unpacked(datatype, array)


def _nested(values: list[Any], shape: list[int]) -> list[Any]:
    for length in reversed(shape[1:]):
        values = [values[at : at + length] for at in range(0, len(values), length)] if length else []
    return values
