"""Writing runs and histories as tables, piece by piece: CSV, JSON lines, and Parquet with pyarrow.

Values stay what they are: NaN is NaN (the text "NaN" in CSV and JSON), infinity is the largest double, as it is stored.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mlwright.kernel.errors import Invalid
from mlwright.tracking.spec import Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MEDIA_TYPES = {"csv": "text/csv", "json": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}
FORMATS = tuple(MEDIA_TYPES)
#: Columns of a run before its metrics, parameters and tags, and of a history; with the kind of their values.
ATTRIBUTES: Mapping[str, type] = {
    "run_id": str,
    "experiment_id": int,
    "name": str,
    "status": str,
    "user_id": str,
    "start_ms": int,
    "end_ms": int,
    "active": bool,
    "artifact_uri": str,
}
HISTORY: Mapping[str, type] = {
    "run_id": str,
    "experiment_id": int,
    "key": str,
    "step": int,
    "timestamp_ms": int,
    "value": float,
}

Columns = Mapping[str, type]
Row = Mapping[str, Any]


class TableWriter(Protocol):
    """Turns rows into bytes. Call `rows` as often as there are any, then `end` once."""

    def rows(self, rows: Sequence[Row]) -> bytes: ...
    def end(self) -> bytes: ...


def open_writer(form: str, columns: Columns) -> TableWriter:
    """A writer of the form "csv", "json" or "parquet". Raises Invalid, also when pyarrow is missing."""
    if form == "csv":
        return _CsvWriter(columns)
    if form == "json":
        return _JsonWriter(columns)
    if form == "parquet":
        return _ParquetWriter(columns)
    raise Invalid(f"{form!r} is not a format of tables", path="format", hint="use csv, json or parquet")


class ColumnsOfRuns:
    """Collects the columns that a table of runs needs."""

    def __init__(self) -> None:
        self._metrics: set[str] = set()
        self._params: set[str] = set()
        self._tags: set[str] = set()

    def add(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self._metrics.update(each.key for each in run.metrics)
            self._params.update(each.key for each in run.params)
            self._tags.update(each.key for each in run.tags)

    def columns(self) -> Columns:
        """Attributes, then metrics, parameters and tags by name."""
        found = dict(ATTRIBUTES)
        found |= {f"metrics.{key}": float for key in sorted(self._metrics)}
        found |= {f"params.{key}": str for key in sorted(self._params)}
        found |= {f"tags.{key}": str for key in sorted(self._tags)}
        return found


def run_row(run: Run) -> Row:
    """A run as a row; what it does not have is missing."""
    info = run.info
    row: dict[str, Any] = {name: getattr(info, name) for name in ATTRIBUTES if name != "status"}
    row["status"] = info.status.name
    row |= {f"metrics.{each.key}": each.value for each in run.metrics}
    row |= {f"params.{each.key}": each.value for each in run.params}
    row |= {f"tags.{each.key}": each.value for each in run.tags}
    return row


def history_rows(run: Run, key: str, records: "NDArray[np.void]") -> list[Row]:
    """Records of a history as rows."""
    first = {"run_id": run.info.run_id, "experiment_id": run.info.experiment_id, "key": key}
    columns = (records["step"].tolist(), records["timestamp"].tolist(), records["value"].tolist())
    return [
        {**first, "step": step, "timestamp_ms": timestamp, "value": value}
        for step, timestamp, value in zip(*columns, strict=True)
    ]


class _CsvWriter:
    """RFC 4180, one line of names first. A value that is missing is empty."""

    def __init__(self, columns: Columns) -> None:
        self._names = list(columns)
        self._started = False

    def rows(self, rows: Sequence[Row]) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text)
        if not self._started:
            writer.writerow(self._names)
            self._started = True
        writer.writerows([_cell(row.get(name)) for name in self._names] for row in rows)
        return text.getvalue().encode()

    def end(self) -> bytes:
        return b"" if self._started else self.rows([])


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else repr(value)
    return value


class _JsonWriter:
    """One object for each row and line; what is missing is left out."""

    def __init__(self, columns: Columns) -> None:
        self._names = list(columns)

    def rows(self, rows: Sequence[Row]) -> bytes:
        return "".join(f"{self._line(row)}\n" for row in rows).encode()

    def _line(self, row: Row) -> str:
        found = {name: row[name] for name in self._names if row.get(name) is not None}
        nan = {name: "NaN" for name, value in found.items() if isinstance(value, float) and math.isnan(value)}
        return json.dumps({**found, **nan}, ensure_ascii=False)

    def end(self) -> bytes:
        return b""


class _Taken(io.RawIOBase):
    """A file whose content is taken out as it is written."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._size += len(self._parts[-1])
        return len(self._parts[-1])

    def tell(self) -> int:
        return self._size

    def take(self) -> bytes:
        found = b"".join(self._parts)
        self._parts.clear()
        return found


class _ParquetWriter:
    """Row groups of up to as many rows as are given at once."""

    def __init__(self, columns: Columns) -> None:
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError as error:
            raise Invalid(
                "Parquet needs another package", path="format", hint="pip install 'mlwright[parquet]', or use csv"
            ) from error
        kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
        self._schema = pa.schema([pa.field(name, kinds[kind]) for name, kind in columns.items()])
        self._table = pa.Table
        self._file = _Taken()
        self._writer = parquet.ParquetWriter(self._file, self._schema)

    def rows(self, rows: Sequence[Row]) -> bytes:
        columns = {name: [row.get(name) for row in rows] for name in self._schema.names}
        self._writer.write_table(self._table.from_pydict(columns, schema=self._schema))
        return self._file.take()

    def end(self) -> bytes:
        self._writer.close()
        return self._file.take()
