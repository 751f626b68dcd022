"""HDF5 files, as older Keras models are: numbers, and perhaps a description of the model as JSON.

HDF5 is not parsed here. The whole file is searched for the attribute that holds the description; the JSON behind it
must be readable in one piece, else the file is refused. Heaps of attributes with filters could hide it, so that they
are refused too.
"""

from __future__ import annotations

import json
import re

from mlwright.security.scanning.keras import scan_config
from mlwright.security.scanning.limits import MEBI, RefusedError
from mlwright.security.scanning.looking import Looker
from mlwright.security.scanning.streams import Source, Stream

_CONFIGS = (b"model_config", b"layer_config", b"training_config")
_JSON_START = re.compile(rb'\{\s*"')
_CODE = tuple(b'"%s"' % name for name in (b"Lambda", b"__lambda__", b"TorchModuleWrapper", b"TFSMLayer", b"JaxLayer",
                                         b"FlaxLayer"))  # fmt: skip
#: Head of a fractal heap: version, length of ids, then the length of its filters, which must be none.
_HEAP = b"FRHP"
_FILTERED_HEAP = re.compile(rb"FRHP\x00[\x00-\xff]{2}(?!\x00\x00)[\x00-\xff]{2}")
#: What tells the description of a model that cannot be read from bytes that look like JSON by chance.
_SUSPECT = re.compile(rb'"class_name"|\\u00[2-7]')
_FIRST_LOOK = 1 << 16
_MAX_STARTS = 20_000
_MAX_CONFIG = 16 * MEBI


def scan_hdf5(looker: Looker, source: Source, member: str, depth: int) -> None:
    """Search the file for the descriptions of Keras and check them."""
    place = 0
    with source.open() as stream:
        described = False
        before = b""
        for piece in stream.chunks():
            window = before + piece
            if _HEAP in window and _FILTERED_HEAP.search(window):
                raise RefusedError("format-malformed", "attributes are packed, so that nobody can look into them")
            if any(name in window for name in _CODE):
                looker.note("keras-code", "the model holds a layer with code", member=member, offset=place)
                return
            described = described or any(name in window for name in _CONFIGS)
            place += len(piece)
            before = window[-64:]
    if described:
        _check_configs(looker, source, member)


def _check_configs(looker: Looker, source: Source, member: str) -> None:
    """Check each JSON object in the file that describes a part of a model. Raises RefusedError when there is none."""
    checked = 0
    with source.open() as stream:
        for _ in range(_MAX_STARTS):
            looker.budget.check_time()
            if not _to_json(stream):
                break
            document, length = _object(stream)
            if length:
                scan_config(looker, document, member)
                checked += 1
            elif _SUSPECT.search(stream.peek(_FIRST_LOOK)):
                raise RefusedError("keras-foreign", "the description of the model cannot be read")
            stream.skip(length or 1)
        else:
            raise RefusedError("keras-foreign", "there are too many places where the description could begin")
    if not checked:
        raise RefusedError("keras-foreign", "the description of the model cannot be found")


def _to_json(stream: Stream) -> bool:
    """Go on to where a JSON object may begin; False when there is none."""
    while True:
        start = _JSON_START.search(stream.buf, stream.pos)
        if start is not None:
            stream.skip(start.start() - stream.pos)
            return True
        stream.skip(max(0, len(stream.buf) - stream.pos - 8))
        left = len(stream.buf) - stream.pos
        if stream.fill(left + 1) == left:
            return False


def _object(stream: Stream) -> tuple[object, int]:
    """A JSON object and its length in bytes; length 0 when it cannot be read."""
    for most in (_FIRST_LOOK, _MAX_CONFIG):
        text = stream.peek(most).decode("latin-1")
        try:
            return json.JSONDecoder().raw_decode(text)
        except (ValueError, RecursionError):
            if not _SUSPECT.search(text.encode("latin-1")):
                break
    return None, 0
