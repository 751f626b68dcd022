"""Arrays as they travel: named, typed in the Open Inference Protocol's words, as bytes of this machine or texts."""

import array
import math
import struct
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from mlwright.kernel.errors import Invalid

TEXT = "BYTES"
#: Bytes of one element.
SIZES = {
    "BOOL": 1,
    "INT8": 1,
    "UINT8": 1,
    "INT16": 2,
    "UINT16": 2,
    "FP16": 2,
    "INT32": 4,
    "UINT32": 4,
    "FP32": 4,
    "INT64": 8,
    "UINT64": 8,
    "FP64": 8,
}
#: Codes of Python's arrays; FP16 has none.
_CODES = {
    "BOOL": "B",
    "INT8": "b",
    "UINT8": "B",
    "INT16": "h",
    "UINT16": "H",
    "INT32": "i",
    "UINT32": "I",
    "INT64": "q",
    "UINT64": "Q",
    "FP32": "f",
    "FP64": "d",
}
FLOATS = frozenset({"FP16", "FP32", "FP64"})
_MOST_DEPTH = 32
assert sys.byteorder == "little"  # the protocol's bytes are little-endian, and so are all machines we run on


class Shape(NamedTuple):
    """What requests must have in common to be one batch.

    Attributes:
        names, datatypes: of each array.
        rows: the shape of one row of each.
        table: names of the columns, when the arrays are one table; a single array may then hold several of them.
    """

    names: tuple[str, ...]
    datatypes: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]
    table: tuple[str, ...] = ()


class Asked(NamedTuple):
    """A request for predictions: `rows` of them, and for each array its bytes or its texts."""

    shape: Shape
    rows: int
    arrays: tuple[bytes | list[Any], ...]


class Array(NamedTuple):
    """A part of an answer: bytes, or texts."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: bytes | list[Any]

    def values(self) -> list[Any]:
        """Its elements, flat, as JSON has them."""
        return self.data if isinstance(self.data, list) else unpacked(self.datatype, self.data)

    def nested(self) -> list[Any]:
        """Its elements as lists of lists, one per axis."""
        values: list[Any] = self.values()
        for length in reversed(self.shape[1:]):
            values = [values[at : at + length] for at in range(0, len(values), length)] if length else []
        return values


@lru_cache(maxsize=1_024)
def _doubles(length: int) -> struct.Struct:
    return struct.Struct(f"<{length}d")


def packed(datatype: str, values: Sequence[Any], name: str) -> bytes:
    """Numbers as bytes. Raises Invalid for what is no number of that type."""
    try:
        if datatype == "FP64":  # the same as an array of it, in half the time
            return _doubles(len(values)).pack(*values)
        if datatype == "FP16":
            return struct.pack(f"<{len(values)}e", *values)
        if datatype == "BOOL":
            return bytes(bytearray(_truth(value) for value in values))
        return array.array(_CODES[datatype], values).tobytes()
    except (TypeError, OverflowError, struct.error, ValueError) as error:
        raise Invalid(f"the input {name!r} has a value that is no {datatype}: {error}", path=f"inputs.{name}") from None


def _truth(value: object) -> bool:
    if value is True or value is False or value in (0, 1):
        return bool(value)
    raise ValueError(f"{value!r} is neither true nor false")


def unpacked(datatype: str, data: bytes) -> list[Any]:
    """Bytes as numbers."""
    if datatype == "FP16":
        return list(struct.unpack(f"<{len(data) // 2}e", data))
    found = array.array(_CODES[datatype])
    found.frombytes(data)
    return [bool(each) for each in found] if datatype == "BOOL" else found.tolist()


def flat(values: list[Any]) -> list[Any]:
    """Lists of lists as one list. Raises Invalid when it is nested too deep."""
    for _ in range(_MOST_DEPTH):
        if not values or not isinstance(values[0], list):
            return values
        try:
            values = list(chain.from_iterable(values))
        except TypeError:
            raise Invalid("lists and values are mixed", path="data") from None
    raise Invalid("lists are nested too deep", path="data")


def count(shape: Iterable[int]) -> int:
    """Elements of an array of that shape."""
    return math.prod(shape)


def first_value(asked: Asked, name: str) -> str:
    """What the first row of a request has for an input, as text; empty where it does not have it.

    The same number is the same text, however it is typed.
    """
    shape = asked.shape
    place = shape.names.index(name) if name in shape.names else -1
    at = 0
    if place < 0 and len(shape.names) == 1 and name in shape.table:  # one array holds all columns
        place, at = 0, shape.table.index(name)
    if place < 0:
        return ""
    kind, data = shape.datatypes[place], asked.arrays[place]
    value = data[at] if isinstance(data, list) else unpacked(kind, data[at * SIZES[kind] : (at + 1) * SIZES[kind]])[0]
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def not_numbers(found: Array) -> tuple[int, int]:
    """Numbers in the array, and those that are NaN; (0, 0) for what are no floats."""
    if found.datatype not in FLOATS or isinstance(found.data, list):
        return 0, 0
    values = found.values()
    total = sum(values)
    return len(values), sum(1 for each in values if each != each) if total != total else 0
