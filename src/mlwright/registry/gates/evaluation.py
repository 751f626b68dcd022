"""The stored evaluation of a model: what it said of each row, and what was true."""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlwright.kernel.errors import Invalid, Unsupported
from mlwright.registry.gates.metrics import Floats, Rows
from mlwright.registry.gates.spec import Columns

_PARQUET = b"PAR1"
_OTHER_ROWS = "the two evaluations are not of the same rows"
#: Most rows that are read.
MAX_ROWS = 5_000_000


class Evaluation(NamedTuple):
    """Rows with what they can be cut by.

    Attributes:
        rows: labels, predictions, scores.
        table: all columns as text, by name.
        keys: what tells the rows apart, in their order; None when nothing does.
    """

    rows: Rows
    table: Mapping[str, Sequence[str]]
    keys: Sequence[str] | None

    def column(self, name: str) -> NDArray[np.str_]:
        """Raises Invalid when there is no such column."""
        return np.asarray(_column(self.table, name))


def read(path: Path, columns: Columns, positive: str) -> Evaluation:
    """Read a CSV or Parquet file. Raises Invalid with the column and row of what is wrong, Unsupported."""
    with path.open("rb") as file:
        is_parquet = file.read(4) == _PARQUET
    table = _read_parquet(path) if is_parquet else _read_csv(path)
    labels = _numbers(table, columns.label, positive)
    predictions = _numbers(table, columns.prediction, positive)
    scores = _numbers(table, columns.score, "") if columns.score else None
    if scores is not None and len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        raise Invalid("probabilities lie between 0 and 1", path=columns.score)
    keys = _column(table, columns.key) if columns.key else None
    if keys is not None and len(set(keys)) < len(keys):
        raise Invalid("the key is not different in all rows", path=columns.key)
    return Evaluation(Rows(labels, predictions, scores), table, keys)


def paired(candidate: Evaluation, baseline: Evaluation) -> tuple[Rows, Rows]:
    """Both over the same rows in the same order. Raises Invalid when they were evaluated on different ones."""
    if candidate.keys is None or baseline.keys is None:
        if not np.array_equal(candidate.rows.labels, baseline.rows.labels):
            raise Invalid(
                "the two evaluations are not of the same rows", hint="evaluate both on one dataset, or name a key"
            )
        return candidate.rows, baseline.rows
    place = {key: number for number, key in enumerate(baseline.keys)}
    missing = [key for key in candidate.keys if key not in place]
    if missing or len(place) != len(candidate.keys):
        raise Invalid(_OTHER_ROWS, hint="evaluate both on one dataset")
    other = baseline.rows.take(np.array([place[key] for key in candidate.keys], dtype=np.intp))
    if not np.array_equal(candidate.rows.labels, other.labels):
        raise Invalid("the two evaluations disagree about the labels of the same rows")
    return candidate.rows, other


def _read_csv(path: Path) -> dict[str, Sequence[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _transposed(csv.reader(file, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise Invalid(f"the evaluation is no CSV file: {error}") from error


def _transposed(lines: Iterable[list[str]]) -> dict[str, Sequence[str]]:
    reader = iter(lines)
    names = next(reader, [])
    if not names or len(set(names)) < len(names):
        raise Invalid("the first line must name the columns, each once")
    rows: list[list[str]] = []
    for number, line in enumerate(reader, start=2):
        if len(line) != len(names):
            raise Invalid(f"line {number} has {len(line)} columns instead of {len(names)}")
        if len(rows) == MAX_ROWS:
            raise Invalid(f"an evaluation has at most {MAX_ROWS:,} rows")
        rows.append(line)
    return dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())


def _read_parquet(path: Path) -> dict[str, Sequence[str]]:
    try:
        import pyarrow.csv
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise Unsupported(
            "reading Parquet needs pyarrow", hint="pip install 'mlwright[parquet]', or store CSV"
        ) from error
    try:
        found = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise Invalid(f"the evaluation is no Parquet file: {str(error)[:200]}") from error
    if found.num_rows > MAX_ROWS:
        raise Invalid(f"an evaluation has at most {MAX_ROWS:,} rows")
    written = io.BytesIO()
    pyarrow.csv.write_csv(found, written)
    return _transposed(csv.reader(io.StringIO(written.getvalue().decode()), strict=True))


def _column(table: Mapping[str, Sequence[str]], name: str) -> Sequence[str]:
    found = table.get(name)
    if found is None:
        raise Invalid(f"the evaluation has no column {name!r}", path=name, hint=f"it has {', '.join(table)[:200]}")
    return found


def _numbers(table: Mapping[str, Sequence[str]], name: str, positive: str) -> Floats:
    """A column as numbers. Where a positive class is named, it is 1, and every other class a number of its own."""
    column = _column(table, name)
    if positive:
        codes = {text: class_number(text, positive) for text in set(column)}
        return np.array([codes[text] for text in column], dtype=np.float64)
    try:
        found = np.array(column, dtype=np.float64)
    except ValueError:
        line, text = next((line, text) for line, text in enumerate(column, start=2) if not _is_number(text))
        hint = "name the positive class, if these are classes"
        raise Invalid(f"line {line}: {text[:50]!r} is no number", path=name, hint=hint) from None
    if not np.isfinite(found).all():
        first = int(np.flatnonzero(~np.isfinite(found))[0])
        raise Invalid(f"line {first + 2}: {column[first][:50]!r} is no finite number", path=name)
    return found


def class_number(text: str, positive: str) -> float:
    """1 for the positive class; for another one a number of its own, the same in every column and file."""
    if text == positive:
        return 1.0
    return 2.0 + int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
