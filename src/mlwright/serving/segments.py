"""Files of the prediction log that are complete: Parquet where pyarrow is installed, else packed lines of JSON.

A file is one host's predictions for one endpoint on one day, and is there whole or not at all.
"""

import contextlib
import gzip
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlwright.kernel.errors import Invalid
from mlwright.serving.host.spool import Prediction

PARQUET = ".parquet"
LINES = ".jsonl.gz"
_BATCH = 4_096
_PLAIN = ("prediction_id", "request_id", "trace_id", "endpoint", "model", "entity")
_NUMBERS = ("revision", "version", "time_ms", "rows")
_ARRAYS = ("outputs", "inputs")
#: How a column is marked whose values are texts of JSON, because they have no common type.
_MARK = {b"mlwright": b"json"}

_decode = msgspec.json.Decoder(Prediction).decode
_encode = msgspec.json.Encoder().encode


def write(folder: Path, stem: str, found: Sequence[Prediction]) -> Path:
    """Write a file, instead of one that is there, and answer where. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    if not has_parquet():
        return _whole(folder / f"{stem}{LINES}", lambda path: _write_lines(path, found))
    target = _whole(folder / f"{stem}{PARQUET}", lambda path: _write_parquet(path, found))
    (folder / f"{stem}{LINES}").unlink(missing_ok=True)
    return target


def read(path: Path) -> Iterator[Prediction]:
    """All of a file, also of one that has become Parquet since it was listed; nothing of one that was removed.

    Raises Invalid for Parquet without pyarrow.
    """
    if path.name.endswith(LINES):
        with contextlib.suppress(FileNotFoundError), gzip.open(path) as lines:
            yield from map(_decode, lines)
            return
        path = path.with_name(f"{stem_of(path)}{PARQUET}")
    if not has_parquet():
        raise Invalid("this part of the prediction log is Parquet", hint="pip install 'mlwright[parquet]'")
    with contextlib.suppress(FileNotFoundError):
        yield from _read_parquet(path)


def stem_of(path: Path) -> str:
    """The name of a file without its form."""
    return path.name.removesuffix(PARQUET).removesuffix(LINES)


def has_parquet() -> bool:
    """Whether pyarrow is installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        return False
    return True


def _whole(target: Path, write_it: Callable[[Path], None]) -> Path:
    new = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        write_it(new)
        with new.open("rb") as written:
            os.fsync(written.fileno())
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
    return target


def _write_lines(path: Path, found: Sequence[Prediction]) -> None:
    with gzip.open(path, "wb", compresslevel=5) as lines:
        lines.writelines(_encode(each) + b"\n" for each in found)


# --- Parquet ------------------------------------------------------------------------------------------------------


def _write_parquet(path: Path, found: Sequence[Prediction]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {name: pa.array([getattr(each, name) for each in found], pa.string()) for name in _PLAIN}
    columns |= {name: pa.array([getattr(each, name) for each in found], pa.int64()) for name in _NUMBERS}
    columns["latency_ms"] = pa.array([each.latency_ms for each in found], pa.float64())
    for name in _ARRAYS:
        struct = _structs([getattr(each, name) for each in found])
        if struct is not None:
            columns[name] = struct
    table = pa.table([columns[name] for name in columns], names=list(columns))
    pq.write_table(table, path, compression="zstd", row_group_size=64 * _BATCH)


def _structs(objects: Sequence[dict[str, list[Any]] | None]) -> Any:
    """A column of structures, one field per input or output; None where nobody has any."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for each in objects for name in each or ()))
    if not names:
        return None
    arrays, fields = [], []
    for name in names:
        values = [None if each is None else each.get(name) for each in objects]
        kind = _kind(values)
        try:
            array, metadata = pa.array(values, kind), None
        except (pa.ArrowException, OverflowError, TypeError):
            texts = [None if value is None else json.dumps(value) for value in values]
            array, metadata = pa.array(texts, pa.string()), _MARK
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata=metadata))
    return pa.StructArray.from_arrays(arrays, fields=fields, mask=pa.array([each is None for each in objects]))


def _kind(values: Sequence[list[Any] | None]) -> Any:
    """The type that holds all of them; that of texts, which they then are not, when there is none."""
    import pyarrow as pa

    nested = {isinstance(value, list) for row in values for value in row or () if value is not None}
    if nested == {True}:
        flat: Iterator[Any] = (cell for row in values for value in row or () for cell in value or ())
    else:
        flat = (value for row in values for value in row or ())
    kinds = {type(value) for value in flat} - {type(None)}
    kind = {frozenset(): pa.float64(), frozenset({bool}): pa.bool_(), frozenset({int}): pa.int64()}.get(
        frozenset(kinds), pa.float64() if kinds <= {int, float} else pa.string()
    )
    return pa.list_(pa.list_(kind)) if nested == {True} else pa.list_(kind)


def _read_parquet(path: Path) -> Iterator[Prediction]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        marked = {
            (name, field.name)
            for name in _ARRAYS
            if name in schema.names
            for field in schema.field(name).type.fields
            if field.metadata and _MARK.items() <= field.metadata.items()
        }
        for batch in file.iter_batches(_BATCH):
            for row in batch.to_pylist():
                yield Prediction(**{**row, **{name: _object(row.get(name), name, marked) for name in _ARRAYS}})


def _object(value: dict[str, Any] | None, name: str, marked: set[tuple[str, str]]) -> Any:
    if value is None:
        return None if name == "inputs" else {}
    return {key: json.loads(each) if (name, key) in marked else each for key, each in value.items() if each is not None}
