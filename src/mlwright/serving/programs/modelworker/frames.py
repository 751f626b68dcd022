"""Messages between a serving host and a model worker.

A frame is eight bytes (two little-endian lengths), a JSON object, and a buffer that holds the bytes of arrays, one
after the other. Numbers in it are of this machine: both ends run on it.
"""

import json
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

_LENGTHS = struct.Struct("<II")
HEAD_BYTES = _LENGTHS.size
#: A host and a worker of one machine never need more in a frame.
MAX_BYTES = 1 << 30


class Frame(NamedTuple):
    """A message: an object of JSON, and bytes beside it."""

    head: dict[str, Any]
    data: bytes | memoryview = b""


class BrokenFrame(Exception):
    """The other end speaks another language."""


_dumps = json.JSONEncoder(separators=(",", ":")).encode


def encode(head: dict[str, Any], *data: bytes | memoryview) -> bytes:
    """A frame in one piece."""
    return joined(_dumps(head).encode(), *data)


def joined(text: bytes, *data: bytes | memoryview) -> bytes:
    """A frame whose object has been written already."""
    return b"".join((_LENGTHS.pack(len(text), sum(map(len, data))), text, *data))


def lengths(start: bytes | bytearray | memoryview) -> tuple[int, int]:
    """Lengths of the object and of the bytes beside it, from the first `HEAD_BYTES` of a frame. Raises BrokenFrame."""
    head, data = _LENGTHS.unpack_from(start)
    if head + data > MAX_BYTES:
        raise BrokenFrame(f"a frame of {head + data} bytes")
    return head, data


class Splitter:
    """Takes what comes from a socket, gives whole frames.

    Args:
        decode: reads objects of JSON.
    """

    def __init__(self, decode: Callable[[bytes | bytearray], Any] = json.loads) -> None:
        self._held = bytearray()
        self._decode = decode

    def feed(self, piece: bytes) -> list[Frame]:
        """The frames that are complete now. Raises BrokenFrame."""
        self._held += piece
        found, place = [], 0
        while len(self._held) - place >= HEAD_BYTES:
            head, data = lengths(memoryview(self._held)[place : place + HEAD_BYTES])
            end = place + HEAD_BYTES + head + data
            if end > len(self._held):
                break
            middle = place + HEAD_BYTES + head
            found.append(Frame(self._decode(self._held[place + HEAD_BYTES : middle]), bytes(self._held[middle:end])))
            place = end
        del self._held[:place]
        return found
