"""Arrays and tensors that stand alone: .npy, safetensors."""

from __future__ import annotations

import ast
import math

import msgspec

from mlwright.security.scanning.limits import RefusedError
from mlwright.security.scanning.looking import Looker, below
from mlwright.security.scanning.pickles import scan_pickle
from mlwright.security.scanning.streams import Source, Stream
from mlwright.security.scanning.values import ItemType, item_type

_MAX_NPY_HEADER = 1 << 16
_MAX_NESTING = 16
_MAX_SAFETENSORS_HEADER = 25 << 20


class _From:
    """A source from an offset on."""

    def __init__(self, inner: Source, skip: int) -> None:
        self._inner = inner
        self._skip = skip

    def open(self) -> _Skipping:
        """Read it from there."""
        return _Skipping(self._inner, self._skip)


class _Skipping:
    def __init__(self, inner: Source, skip: int) -> None:
        self._context = inner.open()
        self._skip = skip

    def __enter__(self) -> Stream:
        stream = self._context.__enter__()
        stream.skip(self._skip)
        return stream

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(None, None, None)


def scan_npy(looker: Looker, source: Source, member: str, depth: int) -> None:
    """An array with its description; one of objects is a pickle behind it."""
    with source.open() as stream:
        start = stream.read(8)
        size = 2 if start[6] == 1 else 4
        length = int.from_bytes(stream.read(size), "little")
        if length > _MAX_NPY_HEADER:
            raise RefusedError("array-malformed", "the description of an array is too long")
        description = _literal(stream.read(length))
        shape, descr = description.get("shape"), description.get("descr")
        if not isinstance(shape, tuple) or not all(isinstance(side, int) and side >= 0 for side in shape):
            raise RefusedError("array-malformed", "the shape of an array cannot be told")
        item = _item(descr)
        behind = stream.offset
        if not item.has_objects:
            stream.skip(math.prod(shape) * item.size)
            if not stream.at_end():
                raise RefusedError("array-malformed", "bytes follow an array", offset=stream.offset)
            return
    found = scan_pickle(_From(source, behind), below(member, "objects"), looker.budget, certain=True)
    for each in found.findings if found is not None else ():
        looker.keep(each)


def _literal(header: bytes) -> dict[str, object]:
    try:
        found = ast.literal_eval(header.decode("latin-1").strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        found = None
    if not isinstance(found, dict):
        raise RefusedError("array-malformed", "the description of an array cannot be read")
    return found


def _item(descr: object, depth: int = 0) -> ItemType:
    """The item type of a description: a code, or fields."""
    if isinstance(descr, str):
        return item_type(descr)
    if isinstance(descr, tuple) and len(descr) == 2 and depth < _MAX_NESTING:
        inner = _item(descr[0], depth + 1)
        sides = descr[1] if isinstance(descr[1], tuple) else (descr[1],)
        if all(isinstance(side, int) and side >= 0 for side in sides):
            return ItemType(inner.size * math.prod(sides), inner.has_objects)
    if isinstance(descr, list) and depth < _MAX_NESTING:
        parts = [_field(field, depth + 1) for field in descr]
        return ItemType(sum(part.size for part in parts), any(part.has_objects for part in parts))
    raise RefusedError("array-malformed", "the type of an array cannot be told")


def _field(field: object, depth: int) -> ItemType:
    if not isinstance(field, tuple) or len(field) not in (2, 3):
        raise RefusedError("array-malformed", "the type of an array cannot be told")
    return _item((field[1], field[2]) if len(field) == 3 else field[1], depth)


def scan_safetensors(looker: Looker, source: Source, member: str, depth: int) -> None:
    """A description in JSON, then numbers without gaps."""
    with source.open() as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > _MAX_SAFETENSORS_HEADER:
            raise RefusedError("format-malformed", "the description of the tensors is too long")
        try:
            tensors = msgspec.json.decode(stream.read(length), type=dict[str, dict[str, object]])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise RefusedError("format-malformed", "the description of the tensors cannot be read") from None
        tensors.pop("__metadata__", None)
        places = [tensor.get("data_offsets") for tensor in tensors.values()]
        end = 0
        for place in sorted(place for place in places if isinstance(place, list) and _is_place(place)):
            if place[0] != end:
                raise RefusedError("format-malformed", "tensors overlap or leave bytes between them")
            end = place[1]
        if not all(isinstance(place, list) and _is_place(place) for place in places):
            raise RefusedError("format-malformed", "a tensor has no place")
        stream.skip(end)
        if not stream.at_end():
            raise RefusedError("format-malformed", "bytes follow the tensors", offset=stream.offset)


def _is_place(place: list[object]) -> bool:
    return len(place) == 2 and all(isinstance(side, int) and side >= 0 for side in place)
