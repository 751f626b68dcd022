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
from mlwright.security.scanning.streams import Source

_CONFIG = re.compile(rb"model_config|layer_config|training_config")
_JSON_START = re.compile(rb'\{\s*"')
_CODE = re.compile(rb'"(?:Lambda|__lambda__|TorchModuleWrapper|TFSMLayer|JaxLayer|FlaxLayer)"')
#: Head of a fractal heap: version, length of ids, then the length of its filters, which must be none.
_FILTERED_HEAP = re.compile(rb"FRHP\x00[\x00-\xff]{2}(?!\x00\x00)[\x00-\xff]{2}")
_MAX_CONFIG = 16 * MEBI


def scan_hdf5(looker: Looker, source: Source, member: str, depth: int) -> None:
    """Search the file for the descriptions of Keras and check them."""
    place = 0
    with source.open() as stream:
        described = False
        before = b""
        for piece in stream.chunks():
            window = before + piece
            if _FILTERED_HEAP.search(window):
                raise RefusedError("format-malformed", "attributes are packed, so that nobody can look into them")
            if _CODE.search(window):
                looker.note("keras-code", "the model holds a layer with code", member=member, offset=place)
                return
            described |= bool(_CONFIG.search(window))
            place += len(piece)
            before = window[-64:]
    if described:
        _check_configs(looker, source, member)


def _check_configs(looker: Looker, source: Source, member: str) -> None:
    checked = 0
    with source.open() as stream:
        while True:
            stream.fill(1)
            start = _JSON_START.search(stream.buf, stream.pos)
            if start is None:
                stream.skip(max(0, len(stream.buf) - stream.pos - 8) or len(stream.buf) - stream.pos)
                if stream.at_end():
                    break
                stream.fill(9)
                continue
            stream.skip(start.start() - stream.pos)
            text = stream.peek(_MAX_CONFIG).decode("latin-1")
            try:
                document, length = json.JSONDecoder().raw_decode(text)
            except (ValueError, RecursionError):
                if '"class_name"' in text[:4096]:
                    raise RefusedError("keras-foreign", "the description of the model cannot be read") from None
                stream.skip(1)
                continue
            scan_config(looker, document, member)
            checked += 1
            stream.skip(length)
    if not checked:
        raise RefusedError("keras-foreign", "the description of the model cannot be found")
