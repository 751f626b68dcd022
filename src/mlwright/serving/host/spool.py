"""Predictions as a host writes them down while it answers: frames at the end of a file, in Messagepack.

A frame is its length, its CRC-32 and a list of entries; arrays stay the bytes that they were. Whoever is killed while
he writes leaves a frame that is not whole, and all before it. A file that somebody still writes to is locked (`flock`).
"""

import struct
import zlib
from array import array
from collections.abc import Iterator, Sequence
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from mlwright.serving.host.tensors import FLOATS, SIZES, TEXT, Array, Asked, unpacked

#: Folder of the files, beside those of the endpoints.
FOLDER = ".spool"
SUFFIX = ".spool"
#: Of a file that is being made.
NEW = ".new"
MAGIC = b"mlwright-spool-1\n"
_HEAD = struct.Struct("<II")
_OPAQUE = {1: "B", 2: "H", 4: "I", 8: "Q"}
#: What an array without a name is called.
UNNAMED = "data"
_BETWEEN = "\0"


class Kept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An array. `columns`: names of the columns that it holds, one after the other, if it is a table."""

    name: str
    datatype: str
    shape: list[int]
    data: bytes | list[Any]
    columns: str = ""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A prediction, as `Prediction` has it. `inputs`: None when they are not kept."""

    prediction_id: str
    request_id: str
    trace_id: str
    endpoint: str
    revision: int
    model: str
    version: int
    entity: str
    time_ms: int
    latency_ms: float
    rows: int
    outputs: list[Kept]
    inputs: list[Kept] | None = None


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """An answered request.

    Attributes:
        time_ms: when it came, in milliseconds since 1970.
        latency_ms: until its answer was there.
        rows: that it asked for.
        outputs, inputs: one value per row, or a list where a row has several; None is what is no finite number.
    """

    prediction_id: str
    request_id: str
    trace_id: str
    endpoint: str
    revision: int
    model: str
    version: int
    entity: str
    time_ms: int
    latency_ms: float
    rows: int
    outputs: dict[str, list[Any]]
    inputs: dict[str, list[Any]] | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Entry]).decode


# --- writing ------------------------------------------------------------------------------------------------------


def frame(entries: Sequence[Entry]) -> bytes:
    """Entries as one frame."""
    body = _encode(entries)
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def kept_outputs(arrays: Sequence[Array]) -> list[Kept]:
    """An answer as it is kept."""
    return [Kept(each.name, each.datatype, list(each.shape), each.data) for each in arrays]


def kept_inputs(asked: Asked, redact: Sequence[str]) -> list[Kept]:
    """A request as it is kept: without the inputs and columns that never are."""
    shape, found = asked.shape, []
    for place, name in enumerate(shape.names):
        whole = Kept(name, shape.datatypes[place], [asked.rows, *shape.rows[place]], asked.arrays[place])
        if shape.table and len(shape.names) == 1 and name == "":
            found += _without(whole, shape.table, redact)
        elif name not in redact:
            found.append(whole)
    return found


def _without(matrix: Kept, names: tuple[str, ...], redact: Sequence[str]) -> list[Kept]:
    """A table in one array without some of its columns."""
    gone = [place for place, name in enumerate(names) if name in redact] if redact else ()
    data = matrix.data
    columns = list(names)
    if gone:
        cells = array(_OPAQUE[SIZES[matrix.datatype]], data)
        for width, place in zip(range(len(columns), 0, -1), reversed(gone), strict=False):
            del cells[place::width]
            columns.pop(place)
        data = cells.tobytes()
    shape = [matrix.shape[0], len(columns)]
    return [Kept("", matrix.datatype, shape, data, _joined(tuple(columns)))] if columns else []


@cache
def _joined(columns: tuple[str, ...]) -> str:
    return _BETWEEN.join(name.replace(_BETWEEN, "?") for name in columns)


@cache
def columns_of(joined: str) -> tuple[str, ...]:
    """The names of columns."""
    return tuple(joined.split(_BETWEEN))


# --- reading ------------------------------------------------------------------------------------------------------


def entries(path: Path) -> Iterator[Entry]:
    """All whole entries of a file; none for a file that has been removed meanwhile."""
    try:
        data = memoryview(path.read_bytes())
    except FileNotFoundError:
        return
    place = len(MAGIC)
    if data[:place] != MAGIC:
        return
    while place + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        body = data[place : place + length]
        if len(body) < length or zlib.crc32(body) != check:
            return
        yield from _decode(body)
        place += length


def prediction(entry: Entry) -> Prediction:
    """An entry in plain values."""
    found = {name: getattr(entry, name) for name in Entry.__struct_fields__}
    inputs = None if entry.inputs is None else plain(entry.inputs, entry.rows)
    return Prediction(**{**found, "outputs": plain(entry.outputs, entry.rows), "inputs": inputs})


def plain(arrays: Sequence[Kept], rows: int) -> dict[str, list[Any]]:
    """Arrays of so many rows as values, by name."""
    found: dict[str, list[Any]] = {}
    for each in arrays:
        values = _values(each)
        if each.columns:
            names = columns_of(each.columns)
            found |= {name: values[place :: len(names)] for place, name in enumerate(names)}
            continue
        per_row = len(values) // rows if rows else 0
        split = values if per_row == 1 else [values[at * per_row : (at + 1) * per_row] for at in range(rows)]
        found[each.name or UNNAMED] = split
    return found


def _values(each: Kept) -> list[Any]:
    values = each.data if isinstance(each.data, list) else unpacked(each.datatype, each.data)
    if each.datatype == TEXT or each.datatype not in FLOATS:
        return values
    return [value if isfinite(value) else None for value in values]
