"""Zip archives, read as strictly as the most careful of their readers, so that all of them see the same.

Python trusts the directory at the end, PyTorch too, others the headers before each entry. Where these disagree, where
bytes lie between entries, before or behind them, or where entries share bytes, the archive is refused.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import msgspec

from mlwright.security.scanning.limits import RefusedError
from mlwright.security.scanning.looking import Looker, below
from mlwright.security.scanning.packed import make_bz2, make_deflate
from mlwright.security.scanning.streams import Source, Unpacked, View

_END = b"PK\x05\x06"
_END_SIZE = 22
_LOCATOR_SIZE = 20
_COMMENT_MAX = 65_535
_ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_LATER = 0x8  # sizes follow the data
_MAX_NAME = 4096
_FULL32, _FULL16 = 0xFFFFFFFF, 0xFFFF
_MAX_ABSOLUTE = re.compile(r"^(?:/|\\|[A-Za-z]:)")
#: A tensor of PyTorch, if there is a data.pkl beside its folder.
_STORAGE = re.compile(rb"((?:.*/)?)data/\d+")
_TORCHSCRIPT = re.compile(r"(?:^|/)code/.*\.py\Z|(?:^|/)constants\.pkl\Z")


class Entry(msgspec.Struct, frozen=True):
    """One line of the directory."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    at: int


def zip_at_end(view: View) -> int:
    """Where the last record of an archive lies, for readers that search from the end; -1 when there is none."""
    tail = view.at(max(0, view.size - _END_SIZE - _COMMENT_MAX), _END_SIZE + _COMMENT_MAX)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        return -1
    size, offset = struct.unpack_from("<II", tail, at + 12)
    place = view.size - len(tail) + at
    possible = size == _FULL32 or offset == _FULL32 or (size <= place and offset <= place)
    return place if possible else -1


def _directory(view: View) -> tuple[int, int, int, int]:
    """Count of entries, start and size of the directory, and where the records at the end begin."""
    start = max(0, view.size - _END_SIZE - _COMMENT_MAX)
    tail = view.at(start, _END_SIZE + _COMMENT_MAX)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise RefusedError("archive-malformed", "the archive has no directory at its end")
    disk, first, here, count, size, offset, comment = struct.unpack_from("<HHHHIIH", tail, at + 4)
    end = start + at
    if end + _END_SIZE + comment != view.size:
        raise RefusedError("archive-malformed", "bytes follow the archive", offset=end)
    locator = view.at(max(0, end - _LOCATOR_SIZE), _LOCATOR_SIZE)
    if locator[:4] == b"PK\x06\x07":
        short = (here, count, size, offset)
        disk, first, here, count, size, offset, end = _directory64(view, locator, end)
        agree = zip(short, (here, count, size, offset), (_FULL16, _FULL16, _FULL32, _FULL32), strict=True)
        if any(old not in (new, full) for old, new, full in agree):
            raise RefusedError("archive-malformed", "the archive describes its directory in two ways", offset=end)
    if disk or first or here != count or offset + size != end:
        raise RefusedError("archive-malformed", "the directory is not where the archive says", offset=end)
    return count, offset, size, end


def _directory64(view: View, locator: bytes, end: int) -> tuple[int, int, int, int, int, int, int]:
    """The directory as the record for large archives has it, which PyTorch writes for small ones too."""
    at = int.from_bytes(locator[8:16], "little")
    record = view.at(at, 56)
    if record[:4] != b"PK\x06\x06" or len(record) < 56:
        raise RefusedError("archive-malformed", "the directory of a large archive is missing", offset=at)
    length = int.from_bytes(record[4:12], "little")
    if at + 12 + length != end - _LOCATOR_SIZE:
        raise RefusedError("archive-malformed", "bytes lie between the records at the end", offset=at)
    disk, first, here, count, size, offset = struct.unpack_from("<IIQQQQ", record, 16)
    return disk, first, here, count, size, offset, at


def _entries(view: View, count: int, start: int, size: int) -> Iterator[Entry]:
    """All lines of the directory. Raises RefusedError when it is not exactly these."""
    with view.part(start, size).open() as stream:
        for _ in range(count):
            line = stream.peek(_ENTRY.size)
            if len(line) < _ENTRY.size or line[:4] != b"PK\x01\x02":
                raise RefusedError("archive-malformed", "the directory is damaged", offset=start + stream.offset)
            fields = _ENTRY.unpack(stream.read(_ENTRY.size))
            if fields[10] > _MAX_NAME:
                raise RefusedError("archive-malformed", "a name in the archive is too long", offset=start)
            name, extra = stream.read(fields[10]), stream.read(fields[11])
            stream.skip(fields[12])
            entry = Entry(name, fields[3], fields[4], fields[7], fields[8], fields[9], fields[16])
            yield _with_large_numbers(entry, extra)
        if not stream.at_end():
            raise RefusedError("archive-malformed", "the directory has more lines than it says", offset=start)


def _with_large_numbers(entry: Entry, extra: bytes) -> Entry:
    """The sizes of an entry above 4 GiB stand in its extra field."""
    numbers = _extra64(extra)
    size, packed, at = entry.size, entry.packed, entry.at
    if size == _FULL32 and len(numbers) >= 8:
        size, numbers = int.from_bytes(numbers[:8], "little"), numbers[8:]
    if packed == _FULL32 and len(numbers) >= 8:
        packed, numbers = int.from_bytes(numbers[:8], "little"), numbers[8:]
    if at == _FULL32 and len(numbers) >= 8:
        at = int.from_bytes(numbers[:8], "little")
    return msgspec.structs.replace(entry, size=size, packed=packed, at=at)


def _extra64(extra: bytes) -> bytes:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def scan_zip(looker: Looker, source: Source, member: str, depth: int) -> None:
    """Look into all entries of an archive. Raises RefusedError when it contradicts itself."""
    with looker.seekable(source) as view:
        count, start, size, _ = _directory(view)
        if count > looker.budget.limits.entries:
            raise RefusedError("limit-entries", f"{count:,} entries", offset=start)
        entries = sorted(_entries(view, count, start, size), key=lambda entry: entry.at)
        names = [entry.name for entry in entries]
        _note_torchscript(looker, names, member)
        pickles = {name.removesuffix(b"data.pkl") for name in names if name.endswith(b"data.pkl")}
        end = 0
        for entry in entries:
            if entry.at != end:
                where = "share bytes" if entry.at < end else "leave bytes between them"
                raise RefusedError("archive-malformed", f"entries of the archive {where}", offset=entry.at)
            data_at, end = _check_local(view, entry, start)
            storage = _STORAGE.fullmatch(entry.name)
            role = "storage" if storage and storage[1] in pickles else ""
            _look_at(looker, view.part(data_at, entry.packed), entry, below(member, _text(entry.name)), depth, role)
        if end != start:
            raise RefusedError("archive-malformed", "bytes lie before the directory", offset=end)


def _note_torchscript(looker: Looker, names: list[bytes], member: str) -> None:
    texts = [_text(name) for name in names]
    code = next((name for name in texts if _TORCHSCRIPT.search(name)), None)
    if code is not None and any(name.endswith("data.pkl") for name in texts):
        looker.note("torchscript", f"the archive holds the program {code}", member=member, target=code)


def _check_local(view: View, entry: Entry, limit: int) -> tuple[int, int]:
    """Where the data of an entry begins, and where the next entry should. Raises RefusedError."""
    name = _text(entry.name)
    header = view.at(entry.at, _LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        raise RefusedError("archive-malformed", f"the header of {name} is missing", offset=entry.at, target=name)
    _, _, flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL.unpack(header)
    names = view.at(entry.at + _LOCAL.size, name_size + extra_size)
    if names[:name_size] != entry.name:
        raise RefusedError(
            "archive-malformed", f"{name} has two names: {_text(names[:name_size])} too", offset=entry.at, target=name
        )
    local = _with_large_numbers(Entry(entry.name, flags, method, crc, packed, size, 0), names[name_size:])
    later = bool(flags & _LATER)
    known = (local.crc, local.packed, local.size) == (entry.crc, entry.packed, entry.size)
    unknown = later and not (local.crc or local.packed or local.size)
    if method != entry.method or flags != entry.flags or not (known or unknown):
        raise RefusedError("archive-malformed", f"{name} is described in two ways", offset=entry.at, target=name)
    data_at = entry.at + _LOCAL.size + name_size + extra_size
    end = data_at + entry.packed
    if later:
        end += _descriptor_size(view, end, entry)
    if end > limit:
        raise RefusedError("archive-malformed", f"{name} is longer than the archive", offset=entry.at, target=name)
    return data_at, end


def _descriptor_size(view: View, at: int, entry: Entry) -> int:
    """How long the sizes behind the data are: with or without a signature, with short or long numbers."""
    found = view.at(at, 24)
    for form in ("<4sIII", "<4sIQQ", "<III", "<IQQ"):
        length = struct.calcsize(form)
        if len(found) < length:
            continue
        fields = struct.unpack_from(form, found)
        if form.startswith("<4s"):
            if fields[0] != b"PK\x07\x08":
                continue
            fields = fields[1:]
        if fields == (entry.crc, entry.packed, entry.size):
            return length
    raise RefusedError("archive-malformed", f"the sizes of {_text(entry.name)} are missing", offset=at)


def _look_at(looker: Looker, packed: View, entry: Entry, path: str, depth: int, role: str) -> None:
    name = _text(entry.name)
    if b"\0" in entry.name or _MAX_ABSOLUTE.match(name) or ".." in re.split(r"[/\\]", name):
        looker.note("archive-path", f"the entry {name!r} leads out of its folder", member=path, target=name)
    if entry.flags & _ENCRYPTED:
        looker.note("archive-encrypted", f"{name} says that it is encrypted", member=path, target=name)
        looker.look(packed, path, depth + 1, role="storage")  # some readers do not care about that flag
        return
    makers = {8: make_deflate, 12: make_bz2}
    if entry.method == 0:
        if entry.packed != entry.size:
            raise RefusedError("archive-malformed", f"{name} has two sizes", target=name)
        looker.look(packed, path, depth + 1, role=role)
    elif entry.method in makers:
        looker.look(Unpacked(packed, makers[entry.method], looker.budget, many=False), path, depth + 1, role=role)
    else:
        looker.note("archive-opaque", f"{name} is packed by method {entry.method}", member=path, target=name)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
