"""Predictions as Parquet, with pyarrow. Imported where that is installed only, and never by a host.

One row is a prediction; `inputs` and `outputs` are structures whose fields are lists with one value per row of the
request.
"""

import json
import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlwright.serving.host import spool
from mlwright.serving.host.spool import Entry, Kept, Prediction
from mlwright.serving.host.tensors import TEXT

_BATCH = 4_096
_GROUP = 1 << 18
_TEXTS = ("prediction_id", "request_id", "trace_id", "endpoint", "model", "entity")
_NUMBERS = ("revision", "version", "time_ms", "rows")
_ARRAYS = ("outputs", "inputs")
#: How a field is marked whose values are texts of JSON, because they have no common type.
_MARK = {b"mlwright": b"json"}
#: numpy's types; values are kept as the widest of their kind, so that all files agree.
_TYPES = {
    "BOOL": ("?", "?"),
    "FP16": ("<f2", "<f8"),
    "FP32": ("<f4", "<f8"),
    "FP64": ("<f8", "<f8"),
    "INT8": ("<i1", "<i8"),
    "INT16": ("<i2", "<i8"),
    "INT32": ("<i4", "<i8"),
    "INT64": ("<i8", "<i8"),
    "UINT8": ("<u1", "<i8"),
    "UINT16": ("<u2", "<i8"),
    "UINT32": ("<u4", "<i8"),
    "UINT64": ("<u8", "<u8"),
}

Lists = Sequence[list[Any] | None]


class _Unlike(Exception):
    """The arrays of these predictions are not of one kind."""


def write(path: Path, found: Sequence[Entry] | Sequence[Prediction]) -> None:
    """Write a file. Raises OSError."""
    columns: dict[str, Any] = {name: pa.array([getattr(each, name) for each in found], pa.string()) for name in _TEXTS}
    columns |= {name: pa.array([getattr(each, name) for each in found], pa.int64()) for name in _NUMBERS}
    columns["latency_ms"] = pa.array([each.latency_ms for each in found], pa.float64())
    for name in _ARRAYS:
        structures = _structures([getattr(each, name) for each in found], [each.rows for each in found])
        if structures is not None:
            columns[name] = structures
    table = pa.table([columns[name] for name in columns], names=list(columns))
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=1,
        row_group_size=_GROUP,
        use_dictionary=["request_id", "trace_id", "endpoint", "model", "entity"],
        write_statistics=["prediction_id", "time_ms"],
    )


def read(path: Path, since_ms: int, until_ms: int, newest: int | None) -> Iterator[Prediction]:
    """Those from a time on and before another one, or only the newest of them. Raises FileNotFoundError."""
    table = pq.read_table(path, filters=[("time_ms", ">=", since_ms), ("time_ms", "<", until_ms)], partitioning=None)
    if newest is not None and table.num_rows > newest:
        table = table.take(pc.sort_indices(table["time_ms"])[-newest:])
    schema = table.schema
    marked = {
        (name, field.name)
        for name in _ARRAYS
        if name in schema.names
        for field in schema.field(name).type.fields
        if field.metadata and _MARK.items() <= field.metadata.items()
    }
    for batch in table.to_batches(_BATCH):
        for row in batch.to_pylist():
            yield Prediction(**{**row, **{name: _object(row.get(name), name, marked) for name in _ARRAYS}})


def span(path: Path) -> tuple[int, int]:
    """The earliest and the latest time in a file, from the end of it. Raises FileNotFoundError."""
    metadata = pq.read_metadata(path)
    place = metadata.schema.names.index("time_ms")
    found = [metadata.row_group(number).column(place).statistics for number in range(metadata.num_row_groups)]
    return min((each.min for each in found), default=0), max((each.max for each in found), default=0)


def _object(value: dict[str, Any] | None, name: str, marked: set[tuple[str, str]]) -> Any:
    if value is None:
        return None if name == "inputs" else {}
    return {key: json.loads(each) if (name, key) in marked else each for key, each in value.items() if each is not None}


# --- arrays -------------------------------------------------------------------------------------------------------


def _structures(objects: Sequence[Any], rows: Sequence[int]) -> Any:
    """A column of structures, one field per input or output; None where nobody has any."""
    first = next((each for each in objects if each is not None), None)
    if isinstance(first, list):
        try:
            return _of_bytes(
                objects, [count if each is not None else 0 for each, count in zip(objects, rows, strict=True)]
            )
        except (_Unlike, pa.ArrowException, OverflowError, TypeError):
            objects = [
                None if each is None else spool.plain(each, count) for each, count in zip(objects, rows, strict=True)
            ]
    return _of_values(objects)


def _of_bytes(objects: Sequence[list[Kept] | None], rows: Sequence[int]) -> Any:
    """From arrays as they are kept, all at once. Raises _Unlike when they differ."""
    some = [each for each in objects if each is not None]
    alike = {tuple((kept.name, kept.datatype, *kept.shape[1:], kept.columns) for kept in each) for each in some}
    if len(alike) != 1 or not some[0]:
        raise _Unlike
    ends = np.fromiter(accumulate(rows, initial=0), np.int64, len(rows) + 1)
    fields: list[tuple[str, Any]] = []
    for place, kept in enumerate(some[0]):
        values = _joined(kept.datatype, [each[place].data for each in some])
        if kept.columns:
            names = spool.columns_of(kept.columns)
            table = values.reshape(-1, len(names))
            fields += [(name, _lists(_nullable(table[:, at].copy()), ends)) for at, name in enumerate(names)]
            continue
        per_row = math.prod(kept.shape[1:])
        cells = pa.array(values, pa.string()) if kept.datatype == TEXT else _nullable(values)
        if per_row != 1:
            cells = _lists(cells, np.arange(ends[-1] + 1, dtype=np.int64) * per_row)
        fields.append((kept.name or spool.UNNAMED, _lists(cells, ends)))
    names = tuple(name for name, _ in fields)
    if len(set(names)) < len(names):
        raise _Unlike
    mask = pa.array([each is None for each in objects])
    return pa.StructArray.from_arrays([array for _, array in fields], names=names, mask=mask)


def _joined(datatype: str, data: Sequence[bytes | list[Any]]) -> Any:
    if datatype == TEXT:
        return [value for each in data for value in each]
    stored, kept = _TYPES[datatype]
    with np.errstate(invalid="ignore"):  # a NaN that signals becomes one that does not
        return np.frombuffer(b"".join(data), stored).astype(kept, copy=False)  # type: ignore[arg-type]


def _nullable(values: Any) -> Any:
    """Numbers; null is what is not finite."""
    if values.dtype.kind == "u" and values.size and values.max() >= 1 << 63:
        raise _Unlike
    if values.dtype.kind == "u":
        values = values.astype("<i8")
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not finite.all():
            return pa.array(values, mask=~finite)
    return pa.array(values)


def _lists(values: Any, ends: Any) -> Any:
    return pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), values)


# --- values -------------------------------------------------------------------------------------------------------


def _of_values(objects: Sequence[dict[str, list[Any]] | None]) -> Any:
    """From plain values, of whatever kinds; None where nobody has any."""
    names = list(dict.fromkeys(name for each in objects for name in each or ()))
    if not names:
        return None
    arrays, fields = [], []
    for name in names:
        values = [None if each is None else each.get(name) for each in objects]
        try:
            array, metadata = pa.array(values, _kind(values)), None
        except (pa.ArrowException, OverflowError, TypeError):
            texts = [None if value is None else json.dumps(value) for value in values]
            array, metadata = pa.array(texts, pa.string()), _MARK
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata=metadata))
    return pa.StructArray.from_arrays(arrays, fields=fields, mask=pa.array([each is None for each in objects]))


def _kind(values: Lists) -> Any:
    """The type that holds all of them; that of texts, which they then are not, when there is none."""
    nested = {isinstance(value, list) for row in values for value in row or () if value is not None}
    flat = [value for row in values for value in row or ()]
    if nested == {True}:
        flat = [cell for value in flat for cell in value or ()]
    kinds = frozenset(type(value) for value in flat) - {type(None)}
    if kinds == {bool}:
        kind = pa.bool_()
    elif kinds == {int}:
        kind = pa.int64()
    else:
        kind = pa.float64() if kinds <= {int, float} else pa.string()
    return pa.list_(pa.list_(kind)) if nested == {True} else pa.list_(kind)
