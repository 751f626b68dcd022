"""Packed streams around one member: gzip, bzip2, xz, lzma, zlib, and joblib's old form."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable

from mlwright.security.scanning.limits import MEBI
from mlwright.security.scanning.looking import Looker, below
from mlwright.security.scanning.streams import Decompressor, Source, Unpacked

_LZMA_MEMORY = 256 * MEBI
#: "ZF", then 19 places for the length.
_ZFILE_HEAD = 21


class Inflate:
    """zlib with the manners of bz2 and lzma."""

    def __init__(self, window_bits: int) -> None:
        self._machine = zlib.decompressobj(window_bits)
        self._waiting = b""

    @property
    def eof(self) -> bool:
        return self._machine.eof

    @property
    def unused_data(self) -> bytes:
        return self._machine.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._waiting and not self.eof

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most `max_length` bytes of output. Raises zlib.error."""
        found = self._machine.decompress(self._waiting + data if self._waiting else data, max_length)
        self._waiting = self._machine.unconsumed_tail
        return found


def make_deflate() -> Decompressor:
    """Of zip entries: without head and check sum."""
    return Inflate(-zlib.MAX_WBITS)


def make_zlib() -> Decompressor:
    return Inflate(zlib.MAX_WBITS)


def make_gzip() -> Decompressor:
    return Inflate(zlib.MAX_WBITS | 16)


def make_bz2() -> Decompressor:
    return bz2.BZ2Decompressor()


def make_xz() -> Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)


def make_lzma() -> Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY)


_MAKERS: dict[str, Callable[[], Decompressor]] = {
    "gzip": make_gzip,
    "bzip2": make_bz2,
    "xz": make_xz,
    "lzma": make_lzma,
    "zlib": make_zlib,
}


def scan_packed(looker: Looker, source: Source, member: str, depth: int, kind: str) -> None:
    """Look into what a packed stream holds."""
    looker.look(Unpacked(source, _MAKERS[kind], looker.budget), below(member, kind), depth + 1)


def scan_zfile(looker: Looker, source: Source, member: str, depth: int) -> None:
    """joblib up to 0.9: a length, then zlib."""
    with source.open() as stream:
        head = stream.peek(_ZFILE_HEAD + 1)
    skip = _ZFILE_HEAD + head.endswith(b" ")
    looker.look(Unpacked(source, make_zlib, looker.budget, skip=skip), below(member, "zfile"), depth + 1)
