"""From the bytes of a batch to what a model takes, and from what it answers to bytes."""

import base64
import importlib
import json
from collections.abc import Sequence
from typing import Any

numpy: Any = importlib.import_module("numpy")

#: Names of types on the wire (those of the Open Inference Protocol), and numpy's.
KINDS = {
    "BOOL": "bool",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
_TYPES = {name: numpy.dtype(kind) for name, kind in KINDS.items()}
_NAMES = {numpy.dtype(kind): name for name, kind in KINDS.items()}
_TEXT = "BYTES"


class WrongAnswer(Exception):
    """What the model answered cannot be told."""


def arrays(inputs: Sequence[dict[str, Any]], data: memoryview) -> dict[str, Any]:
    """The inputs of a batch by name. Each has a `name`, `datatype` and `shape`; bytes follow each other in `data`.

    Texts are in the input itself, as `data`.
    """
    found, place = {}, 0
    for each in inputs:
        if each["datatype"] == _TEXT:
            array = numpy.array(each["data"], dtype=object).reshape(each["shape"])
        else:
            kind = _TYPES[each["datatype"]]
            count = 1
            for length in each["shape"]:
                count *= length
            array = numpy.frombuffer(data, kind, count, place).reshape(each["shape"])
            place += count * kind.itemsize
        found[each["name"]] = array
    return found


def table_of(named: dict[str, Any], columns: dict[str, str]) -> Any:
    """A table of pandas: of one array that holds all `columns`, or of one array per column."""
    pandas: Any = importlib.import_module("pandas")
    if list(named) == [""]:
        return pandas.DataFrame(named[""], columns=list(columns))
    table = pandas.DataFrame(named)
    for name in named:
        if columns.get(name) == "datetime":
            table[name] = pandas.to_datetime(table[name], format="ISO8601")
        elif columns.get(name) == "binary":
            table[name] = [None if text is None else base64.b64decode(text) for text in named[name]]
    return table


def form_of(answer: Any) -> str:
    """What kind of thing a model answered."""
    if isinstance(answer, numpy.ndarray):
        return "array"
    if hasattr(answer, "columns") and hasattr(answer, "iloc"):
        return "table"
    return "arrays" if isinstance(answer, (dict, tuple)) else "array"


def outputs(answer: Any, rows: int) -> tuple[list[dict[str, Any]], list[bytes]]:
    """What a model answered for so many rows: descriptions of arrays, and their bytes. Raises WrongAnswer."""
    described, data = [], []
    for name, values in _named(answer):
        array = numpy.asarray(values)
        if array.ndim == 0 or array.shape[0] != rows:
            raise WrongAnswer(f"the model answered {rows} rows with an array of shape {list(array.shape)}")
        shown: dict[str, Any] = {"name": name, "shape": list(array.shape)}
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        kind = _NAMES.get(array.dtype)
        if kind is None:
            shown |= {"datatype": _TEXT, "data": [_text(value) for value in array.ravel().tolist()]}
        else:
            shown["datatype"] = kind
            data.append(numpy.ascontiguousarray(array).tobytes())
        described.append(shown)
    return described, data


def _named(answer: Any) -> list[tuple[str, Any]]:
    """The arrays of an answer, with names."""
    if form_of(answer) == "table":
        return [(str(name), answer[name].to_numpy()) for name in answer.columns]
    if isinstance(answer, dict):
        return [(str(name), values) for name, values in answer.items()]
    if isinstance(answer, tuple):
        return [(f"predictions_{number}", values) for number, values in enumerate(answer)]
    return [("predictions", answer)]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return json.dumps(value, default=str)
