"""What a version takes, from its signature, and requests in its words: tensors, or rows with or without names.

Everything that is wrong with a request is found here, before it is stacked with others: a batch never fails for one.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mlwright.kernel.errors import Invalid
from mlwright.serving.host.tensors import FLOATS, SIZES, TEXT, Array, Asked, Shape, count, flat, packed, unpacked

#: MLflow's types of columns. https://mlflow.org/docs/latest/ml/model/signatures/
_COLUMNS = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": TEXT,
    "binary": TEXT,
    "datetime": TEXT,
    "object": TEXT,
    "array": TEXT,
    "map": TEXT,
    "any": TEXT,
}
#: numpy's names of types in signatures of tensors.
_TENSORS = {
    "bool": "BOOL",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "str": TEXT,
    "object": TEXT,
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_NAN = float("nan")


class Input(NamedTuple):
    """An input: the shape of one row of it, in which -1 is any length. `required` inputs must be there."""

    name: str
    datatype: str
    row: tuple[int, ...]
    required: bool = True
    kind: str = ""


class Takes:
    """The inputs of a version.

    Args:
        inputs: none when it has no signature; then it takes what comes.
        table: they are the columns of a table.

    Attributes:
        matrix: the type of all columns, when they have the same and all of them must be there: one array holds them.
    """

    def __init__(self, inputs: Sequence[Input] = (), *, table: bool = False) -> None:
        self.inputs = tuple(inputs)
        self.table = table
        kinds = {each.datatype for each in self.inputs}
        whole = table and len(kinds) == 1 and all(each.required for each in self.inputs) and kinds <= set(SIZES)
        self.matrix = next(iter(kinds)) if whole else ""
        self.names = tuple(each.name for each in self.inputs)
        self._places = {name: place for place, name in enumerate(self.names)}
        self._matrix_shape = Shape(("",), (self.matrix,), ((len(self.inputs),),), self.names)

    # --- rows --------------------------------------------------------------------------------------------------

    def rows(self, names: Sequence[str] | None, rows: Sequence[Any]) -> Asked:
        """Rows of values, in the order of `names`, or of the signature. Raises Invalid."""
        if not rows:
            raise Invalid("there are no rows", path="data")
        width = len(names) if names is not None else len(self.inputs) or _width(rows[0])
        for number, row in enumerate(rows):
            if not isinstance(row, list) or len(row) != width:
                raise Invalid(f"row {number} has not {width} values", path=f"data[{number}]")
        if not self.table:
            return self._untabled(names, rows)
        order = self._order(names)
        if self.matrix:
            values = (
                [row[place] for row in rows for place in order] if order else [each for row in rows for each in row]
            )
            return Asked(self._matrix_shape, len(rows), (self._packed(self.matrix, values, ""),))
        used = order or list(range(width))
        present = [(each, at) for each, at in zip(self.inputs, used, strict=True) if at >= 0]
        columns = [(each, [row[at] for row in rows]) for each, at in present]
        return _table([(each.name, each.datatype, _texts(each, values)) for each, values in columns])

    def _order(self, names: Sequence[str] | None) -> list[int]:
        """Where each input is among the names; empty when all are in order. -1 for optional ones that are not there."""
        if names is None or tuple(names) == self.names:
            return []
        places = {name: place for place, name in enumerate(names)}
        missing = [each.name for each in self.inputs if each.required and each.name not in places]
        if missing:
            raise Invalid(f"the model is missing inputs {missing}", path="inputs", hint=f"it takes {list(self.names)}")
        return [places.get(name, -1) for name in self.names]

    def _untabled(self, names: Sequence[str] | None, rows: Sequence[Any]) -> Asked:
        if self.inputs:
            if len(self.inputs) > 1:
                raise Invalid("the model takes named tensors", path="inputs", hint=f"it takes {list(self.names)}")
            return self.tensors([(self.inputs[0].name, self.inputs[0].datatype, None, rows)])
        if names is None:
            values = flat(list(rows))
            return _guessed("", values, (len(values) // len(rows),), len(rows))
        return _table([(name, _kind(column), column) for name, column in _columns(names, rows)])

    # --- tensors -----------------------------------------------------------------------------------------------

    def tensors(self, given: Sequence[tuple[str, str, Sequence[int] | None, Any]]) -> Asked:
        """Named arrays: name, datatype, shape (None: as the lists are nested) and bytes, or lists. Raises Invalid."""
        if not given:
            raise Invalid("there are no inputs", path="inputs")
        if self.matrix and len(given) == 1:
            asked = self._whole_matrix(*given[0])
            if asked is not None:
                return asked
        if len({name for name, _, _, _ in given}) != len(given):
            raise Invalid("an input is there twice", path="inputs")
        if self.table:
            return self._tabled(given)
        read = [self._tensor(*each) for each in given]
        self._check_names([each.name for each in read])
        rows = _rows(read)
        shape = Shape(
            tuple(each.name for each in read),
            tuple(each.datatype for each in read),
            tuple(tuple(each.shape[1:]) for each in read),
        )
        return Asked(shape, rows, tuple(each.data for each in read))

    def _whole_matrix(self, _name: str, datatype: str, shape: Sequence[int] | None, data: Any) -> Asked | None:
        """What most clients send: all columns in one array, as a flat list; None when it is not that simple."""
        if datatype != self.matrix or shape is None or len(shape) != 2 or not isinstance(data, list):
            return None
        rows, width = shape
        if rows <= 0 or width != len(self.inputs) or len(data) != rows * width:
            return None
        try:
            return Asked(self._matrix_shape, rows, (packed(datatype, data, ""),))
        except Invalid:
            return None

    def _tabled(self, given: Sequence[tuple[str, str, Sequence[int] | None, Any]]) -> Asked:
        """A table as one array of all columns, or as one array per column."""
        read = [_read(*each) for each in given]
        rows = _rows(read)
        if len(read) == 1 and len(read[0].shape) == 2 and read[0].shape[1] == len(self.inputs):
            if read[0].datatype == self.matrix:
                return Asked(self._matrix_shape, rows, (read[0].data,))
            if len(self.inputs) > 1 or read[0].name not in self._places:
                return self.rows(None, read[0].nested())
        self._check_names([each.name for each in read])
        by_name = {each.name: each for each in read}
        for each in read:
            if count(each.shape[1:]) != 1:
                raise Invalid(f"the input {each.name!r} is a column: its shape is [rows] or [rows, 1]", path="inputs")
        present = [each for each in self.inputs if each.name in by_name]
        return self.rows(
            [each.name for each in present],
            [list(row) for row in zip(*(by_name[each.name].values() for each in present), strict=True)],
        )

    def _tensor(self, name: str, datatype: str, shape: Sequence[int] | None, data: Any) -> Array:
        found = _read(name, datatype, shape, data)
        wanted = next((each for each in self.inputs if each.name == name), None)
        if wanted is None and len(self.inputs) == 1:
            wanted = self.inputs[0]
        if wanted is None:
            return found
        row = tuple(found.shape[1:])
        if len(row) != len(wanted.row) or any(want not in (-1, got) for want, got in zip(wanted.row, row, strict=True)):
            shown = [-1, *wanted.row]
            raise Invalid(f"the input {name!r} has the shape {list(found.shape)} instead of {shown}", path="inputs")
        if found.datatype == wanted.datatype:
            data = _texts(wanted, found.data) if isinstance(found.data, list) else found.data
            return found._replace(name=wanted.name, data=data)
        return Array(wanted.name, wanted.datatype, found.shape, self._converted(wanted, found))

    def _converted(self, wanted: Input, found: Array) -> bytes | list[Any]:
        if (found.datatype == TEXT) != (wanted.datatype == TEXT):
            raise Invalid(f"the input {wanted.name!r} is {found.datatype} instead of {wanted.datatype}", path="inputs")
        return self._packed(wanted.datatype, found.values(), wanted.name)

    def _check_names(self, names: Sequence[str]) -> None:
        if not self.inputs:
            return
        missing = [each.name for each in self.inputs if each.required and each.name not in names]
        unknown = [name for name in names if name not in self._places]
        if missing or unknown:
            said = f"the model is missing inputs {missing}" if missing else f"the model does not know inputs {unknown}"
            raise Invalid(said, path="inputs", hint=f"it takes {list(self.names)}")

    def _packed(self, datatype: str, values: list[Any], name: str) -> bytes:
        try:
            return packed(datatype, values, name)
        except Invalid:
            if datatype in FLOATS and None in values:
                return packed(datatype, [_NAN if each is None else each for each in values], name)
            raise


def takes_of(signature: Mapping[str, Any] | None) -> Takes:
    """What a signature of MLflow says."""
    inputs = (signature or {}).get("inputs")
    if not isinstance(inputs, list) or not inputs:
        return Takes()
    if inputs[0].get("type") == "tensor":
        return Takes([_tensor_input(each, place) for place, each in enumerate(inputs)])
    found = [
        Input(
            str(each.get("name", place)),
            _COLUMNS.get(str(each.get("type")), TEXT),
            (),
            each.get("required", True) is not False,
            str(each.get("type")),
        )
        for place, each in enumerate(inputs)
    ]
    return Takes(found, table=True)


def _tensor_input(each: Mapping[str, Any], place: int) -> Input:
    specification = each.get("tensor-spec", {})
    row = tuple(int(length) for length in specification.get("shape", [-1])[1:])
    datatype = _TENSORS.get(str(specification.get("dtype")), TEXT)
    kind = "string" if datatype == TEXT and "str" in str(specification.get("dtype")) else ""
    return Input(str(each.get("name") or f"input-{place}"), datatype, row, kind=kind)


def _texts(each: Input, values: list[Any]) -> list[Any]:
    """Values as the model gets them. Raises Invalid where they are not as the signature says, and it would fail."""
    read = _READERS.get(each.kind) if each.datatype == TEXT else None
    if read is None:
        return values
    found: list[Any] = []
    for value in values:
        try:
            found.append(None if value is None else read(value))
        except (TypeError, ValueError, OverflowError):
            shown = f"{value!r:.40}"
            raise Invalid(
                f"the input {each.name!r} has a value that is no {each.kind}: {shown}", path=f"inputs.{each.name}"
            ) from None
    return found


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _moment(value: Any) -> str:
    """A moment as nanoseconds can hold it, in UTC if it has a time zone: a table has one kind of moments."""
    found = datetime.fromisoformat(value)
    if found.tzinfo is not None:
        found = found.astimezone(UTC).replace(tzinfo=None)
    if not _FIRST_YEAR <= found.year <= _LAST_YEAR:
        raise ValueError
    return found.isoformat()


def _base64(value: Any) -> str:
    base64.b64decode(value, validate=True)
    return _string(value)


_FIRST_YEAR, _LAST_YEAR = 1678, 2261
#: What reads texts of a kind; of others nothing is known.
_READERS: Mapping[str, Callable[[Any], str]] = {"string": _string, "datetime": _moment, "binary": _base64}


# --- reading ------------------------------------------------------------------------------------------------------


def _read(name: str, datatype: str, shape: Sequence[int] | None, data: Any) -> Array:
    """An array as it was sent. Raises Invalid when there is more or less in it than its shape says."""
    if datatype != TEXT and datatype not in SIZES:
        raise Invalid(f"the input {name!r} has the unknown datatype {datatype!r}", path=f"inputs.{name}.datatype")
    if shape is None:
        shape = _nesting(data)
    if not shape or any(length < 0 for length in shape):
        raise Invalid(f"the input {name!r} has no shape of one axis or more", path=f"inputs.{name}.shape")
    expected = count(shape)
    if isinstance(data, bytes):
        if len(data) != expected * SIZES[datatype]:
            raise Invalid(
                f"the input {name!r} has {len(data)} bytes instead of {expected * SIZES[datatype]}",
                path=f"inputs.{name}",
            )
        return Array(name, datatype, shape, data)
    values = flat(data)
    if len(values) != expected:
        raise Invalid(f"the input {name!r} has {len(values)} values instead of {expected}", path=f"inputs.{name}")
    return Array(name, datatype, shape, values if datatype == TEXT else _nan_packed(datatype, values, name))


def _nesting(data: Any) -> list[int]:
    found: list[int] = []
    while isinstance(data, list):
        found.append(len(data))
        data = data[0] if data else None
    return found


def _rows(read: Sequence[Array]) -> int:
    rows = read[0].shape[0]
    if any(each.shape[0] != rows for each in read):
        raise Invalid("the inputs have not the same number of rows", path="inputs")
    if not rows:
        raise Invalid("there are no rows", path="inputs")
    return rows


def _width(row: Any) -> int:
    return len(row) if isinstance(row, list) else 1


def _columns(names: Sequence[str], rows: Sequence[list[Any]]) -> list[tuple[str, list[Any]]]:
    return [(name, [row[place] for row in rows]) for place, name in enumerate(names)]


def _kind(values: Sequence[Any]) -> str:
    """The datatype that holds all of them."""
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return "INT64"
    return "FP64" if kinds <= {int, float, type(None)} else TEXT


def _guessed(name: str, values: list[Any], row: tuple[int, ...], rows: int) -> Asked:
    datatype = _kind(values)
    data = values if datatype == TEXT else _nan_packed(datatype, values, name)
    return Asked(Shape((name,), (datatype,), (row,)), rows, (data,))


def _table(columns: Sequence[tuple[str, str, list[Any]]]) -> Asked:
    if not columns:
        raise Invalid("the rows are empty", path="data")
    names = tuple(name for name, _, _ in columns)
    shape = Shape(names, tuple(kind for _, kind, _ in columns), ((),) * len(names), names)
    arrays = tuple(values if kind == TEXT else _nan_packed(kind, values, name) for name, kind, values in columns)
    return Asked(shape, len(columns[0][2]), arrays)


def _nan_packed(datatype: str, values: list[Any], name: str) -> bytes:
    if datatype in FLOATS and None in values:
        values = [_NAN if each is None else each for each in values]
    return packed(datatype, values, name)


__all__ = ["Input", "Takes", "takes_of", "unpacked"]
