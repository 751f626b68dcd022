"""Tar archives, read from front to back. What a tar reader could take in two ways is refused."""

from __future__ import annotations

import re

from mlwright.security.scanning.limits import RefusedError
from mlwright.security.scanning.looking import Looker, below
from mlwright.security.scanning.streams import Source, Stream, View
from mlwright.security.scanning.zips import zip_at_end

BLOCK = 512
_MAX_HEADER = 1 << 20
_FILES = (b"0", b"\0", b"7")
_LINKS = (b"1", b"2")
_NAMES = re.compile(rb"(\d+) ([^=\n]+)=")


def is_tar_header(block: bytes) -> bool:
    """True when the check sum of a block of 512 bytes is right."""
    if len(block) < BLOCK or not any(block[:BLOCK]):
        return False
    try:
        stated = _number(block[148:156])
    except RefusedError:
        return False
    return stated == sum(block[:148]) + 8 * 32 + sum(block[156:BLOCK])


def _number(field: bytes) -> int:
    """An octal number, or a binary one when the highest bit is set. Raises RefusedError."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    text = field.split(b"\0", 1)[0].strip()
    if not re.fullmatch(rb"[0-7]*", text):
        raise RefusedError("archive-malformed", "a number in a tar header is none")
    return int(text or b"0", 8)


def scan_tar(looker: Looker, source: Source, member: str, depth: int) -> None:
    """Look into all entries. Raises RefusedError when the archive is damaged or ambiguous."""
    # Entries are read again from the start of what they lie in: for packed ones from a copy on the disk.
    with looker.seekable(source) as view, view.open() as stream:
        name, size = b"", -1
        last_zip = range(0)
        while True:
            at = stream.offset
            header = stream.peek(BLOCK)
            if not header.strip(b"\0"):
                _check_end(stream)
                if (end := zip_at_end(view)) >= 0 and end not in last_zip:
                    raise RefusedError("archive-malformed", "a zip archive hides in a tar archive", offset=end)
                return
            if not is_tar_header(header):
                raise RefusedError("archive-malformed", "a tar header is damaged", offset=at)
            stream.skip(BLOCK)
            kind = header[156:157]
            length = _number(header[124:136])
            if kind in (b"x", b"g", b"L", b"K"):
                record = _record(stream, length, at)
                found = _meaning(kind, record)
                name, size = found[0] or name, found[1] if found[1] >= 0 else size
                continue
            name = name or _header_name(header)
            length = size if size >= 0 else length
            if kind in _FILES:
                if _entry(looker, view, name, stream.offset, length, member, depth) == "zip":
                    last_zip = range(stream.offset, stream.offset + length)
                stream.skip(-(-length // BLOCK) * BLOCK)
            elif kind in _LINKS or kind in (b"5", b"3", b"4", b"6"):
                _check_name(looker, name, member)
            else:
                raise RefusedError("archive-malformed", f"a tar entry has the unknown type {kind!r}", offset=at)
            name, size = b"", -1


def _record(stream: Stream, length: int, at: int) -> bytes:
    if length > _MAX_HEADER:
        raise RefusedError("archive-malformed", "a tar header is too long", offset=at)
    found = stream.read(length)
    stream.skip(-length % BLOCK)
    return found


def _meaning(kind: bytes, record: bytes) -> tuple[bytes, int]:
    """The name and the size that a header states for the entry after it; empty and -1 where it states none."""
    if kind in (b"L", b"K"):
        return (record.rstrip(b"\0"), -1) if kind == b"L" else (b"", -1)
    name, size, at = b"", -1, 0
    while at < len(record.rstrip(b"\0")):
        found = _NAMES.match(record, at)
        end = at + int(found[1]) if found and len(found[1]) < 8 else 0
        if found is None or end <= found.end() or record[end - 1 : end] != b"\n":
            raise RefusedError("archive-malformed", "an extended tar header is damaged")
        key, value, at = found[2], record[found.end() : end - 1], end
        if key.startswith(b"GNU.sparse"):
            raise RefusedError("archive-opaque", "a tar entry is sparse")
        if key == b"path":
            name = value
        if key == b"size":
            size = _decimal(value)
    return name, size


def _decimal(value: bytes) -> int:
    if not re.fullmatch(rb"\d{1,19}", value):
        raise RefusedError("archive-malformed", "a size in a tar header is no number")
    return int(value)


def _header_name(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _entry(looker: Looker, view: View, name: bytes, at: int, size: int, member: str, depth: int) -> str:
    text = _check_name(looker, name, member)
    return looker.look(view.part(at, size), below(member, text), depth + 1)


def _check_name(looker: Looker, name: bytes, member: str) -> str:
    text = name.decode("utf-8", "backslashreplace")
    if text.startswith("/") or ".." in text.split("/"):
        looker.note("archive-path", f"the entry {text!r} leads out of its folder", member=member, target=text)
    return text


def _check_end(stream: Stream) -> None:
    """Two empty blocks end an archive; behind them may be nothing but zeros."""
    for piece in stream.chunks():
        if piece.strip(b"\0"):
            raise RefusedError("archive-malformed", "bytes follow the end of the tar archive", offset=stream.offset)
