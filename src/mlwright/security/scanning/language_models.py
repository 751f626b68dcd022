"""GGUF and ONNX: formats of numbers, in which only texts and references can do harm."""

from __future__ import annotations

import re
import struct

from mlwright.security.scanning.limits import MEBI, RefusedError
from mlwright.security.scanning.looking import Looker
from mlwright.security.scanning.streams import Source, Stream

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_MAX_KEYS = 100_000
_MAX_KEY = 65_535
_MAX_TEMPLATE = 1 * MEBI
#: In Jinja, the ways from a value to Python's own objects.
_ESCAPES = re.compile(rb"__|\|\s*attr\b|\bmro\b|\bformat_map\b|\\x5f|\\u005f|\.\s*(?:func_globals|gi_frame|f_globals)")


def scan_gguf(looker: Looker, source: Source, member: str, depth: int) -> None:
    """Read the keys and their values; chat templates are programs in Jinja, and may only be tame ones."""
    with source.open() as stream:
        stream.skip(4)
        version, _tensors, keys = struct.unpack("<IQQ", stream.read(20))
        if not 2 <= version <= 3 or keys > _MAX_KEYS:
            raise RefusedError("format-malformed", f"version {version} with {keys:,} keys")
        for _ in range(keys):
            name = stream.read(_length(stream, _MAX_KEY))
            found = _value(stream, int.from_bytes(stream.read(4), "little"), template=b"template" in name)
            if found:
                where = name.decode("utf-8", "replace")
                message = f"the template in {where} reaches for {found.decode('utf-8', 'replace')!r}"
                looker.note("gguf-template", message, member=member, target=where)


def _length(stream: Stream, most: int) -> int:
    length = int.from_bytes(stream.read(8), "little")
    if length > most:
        raise RefusedError("format-malformed", "a text is too long", offset=stream.offset)
    return length


def _value(stream: Stream, kind: int, *, template: bool, depth: int = 0) -> bytes:
    """Pass over a value; returns what a template in it reaches for, if anything."""
    if kind == _STRING:
        text = stream.read(_length(stream, _MAX_TEMPLATE))
        found = _ESCAPES.search(text) if template else None
        return found[0] if found is not None else b""
    if kind == _ARRAY:
        inner, count = struct.unpack("<IQ", stream.read(12))
        if inner in _SIZES:
            stream.skip(_SIZES[inner] * count)
        elif depth > 4:
            raise RefusedError("format-malformed", "arrays are nested too deeply", offset=stream.offset)
        else:
            results = (_value(stream, inner, template=template, depth=depth + 1) for _ in range(count))
            return max(results, default=b"")
    elif kind in _SIZES:
        stream.skip(_SIZES[kind])
    else:
        raise RefusedError("format-malformed", f"a value has the unknown type {kind}", offset=stream.offset)
    return b""


# --- ONNX: protocol buffers ---

_GRAPH, _INITIALIZER, _EXTERNAL, _KEY, _LOCATION = 7, 5, 13, 1, 2
_OUTSIDE = re.compile(r"^(?:/|\\|[A-Za-z]:)|(?:^|[/\\])\.\.(?:[/\\]|\Z)")


def scan_onnx(looker: Looker, source: Source, member: str, depth: int) -> None:
    """Walk the outer fields, and the tensors of the graph for files outside of the folder that they name."""
    with source.open() as stream:
        graphs = 0
        while not stream.at_end():
            number, kind = _tag(stream)
            if number == 0 or number > 1000:
                raise RefusedError("format-unknown", "the content is in no known format")
            if number == _GRAPH and kind == 2:
                graphs += 1
                _graph(looker, stream, stream.offset + _varint(stream), member)
            else:
                _skip(stream, kind)
        if not graphs:
            raise RefusedError("format-unknown", "the content is in no known format")


def _varint(stream: Stream) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise RefusedError("format-unknown", "the content is in no known format", offset=stream.offset)


def _tag(stream: Stream) -> tuple[int, int]:
    value = _varint(stream)
    return value >> 3, value & 7


def _skip(stream: Stream, kind: int) -> None:
    if kind == 0:
        _varint(stream)
    elif kind in (1, 5):
        stream.skip(8 if kind == 1 else 4)
    elif kind == 2:
        stream.skip(_varint(stream))
    else:
        raise RefusedError("format-unknown", "the content is in no known format", offset=stream.offset)


def _graph(looker: Looker, stream: Stream, end: int, member: str) -> None:
    while stream.offset < end:
        number, kind = _tag(stream)
        if number == _INITIALIZER and kind == 2:
            length = _varint(stream)
            _tensor(looker, stream, stream.offset + length, member)
        else:
            _skip(stream, kind)


def _tensor(looker: Looker, stream: Stream, end: int, member: str) -> None:
    while stream.offset < end:
        number, kind = _tag(stream)
        if number != _EXTERNAL or kind != 2:
            _skip(stream, kind)
            continue
        length = _varint(stream)
        if length > _MAX_KEY:
            raise RefusedError("format-malformed", "a reference to a file is too long", offset=stream.offset)
        pair = stream.read(length)
        found = re.search(rb"\x0a\x08location\x12([\x00-\xff])", pair)
        place = pair[found.end() :].decode("utf-8", "replace") if found else ""
        if _OUTSIDE.search(place):
            looker.note("onnx-external", f"a tensor is read from {place}", member=member, target=place)
