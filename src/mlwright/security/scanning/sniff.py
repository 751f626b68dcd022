"""What a file is, by its content. Its name is never asked."""

from __future__ import annotations

import re
import zlib

from mlwright.security.scanning.tars import BLOCK, is_tar_header

#: Bytes from the start that decide.
HEAD = 4096

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "lzma"),
    (b"ZF0x", "zfile"),
    (b"\x93NUMPY", "npy"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"GGUF", "gguf"),
    (b"CBM1", "catboost"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "gif"),
    (b"PAR1", "parquet"),
    (b"ARROW1\x00\x00", "arrow"),
    (b"FEA1", "feather"),
    (b"%PDF-", "pdf"),
    (b"SQLite format 3\x00", "sqlite"),
)
#: Packed in ways that the standard library cannot open.
_OPAQUE: tuple[tuple[bytes, str], ...] = (
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"\x1f\x9d", "compress"),
    (b"LZIP", "lzip"),
    (b"\x89LZO\x00", "lzo"),
    (b"\xff\x06\x00\x00sNaPpY", "snappy"),
    (b"PK\x07\x08", "zip in parts"),
)
_UBJSON = re.compile(rb"\{[LliIU][\x00-\xff]{1,8}?(?:learner|version|Config)")
_MAX_HEADER = 100 << 20


def opaque(head: bytes) -> str:
    """The name of a way to pack that cannot be opened here; empty when it is none."""
    return next((name for magic, name in _OPAQUE if head.startswith(magic)), "")


def kind(head: bytes, size: int | None) -> str:
    """What content begins with these bytes; empty when it is nothing known.

    `size` is the length of all of it, None where that is not known.
    """
    if not head:
        return "empty"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"WAVE"):
        return head[8:12].decode().lower().replace("wave", "wav")
    if head[4:8] == b"TFL3":
        return "tflite"
    if is_tar_header(head[:BLOCK]):
        return "tar"
    if _is_safetensors(head, size):
        return "safetensors"
    if _UBJSON.match(head):
        return "xgboost ubjson"
    if _is_zlib(head):
        return "zlib"
    if is_text(head):
        return "json" if begins_json(head) else "text"
    return "onnx" if _may_be_onnx(head) else ""


def begins_json(text: bytes) -> bool:
    """True when an object or a list comes first, behind what JSON's readers pass over."""
    return text.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def _is_zlib(head: bytes) -> bool:
    """True when something can be unpacked: packed bytes can be made to look like a text, so that looks do not count."""
    if head[0] != 0x78:
        return False
    try:
        return bool(zlib.decompressobj().decompress(head, 1))
    except zlib.error:
        return False


def is_text(head: bytes) -> bool:
    """True for UTF-8 without the characters that no text has; the end may cut a character."""
    if re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", head):
        return False
    for cut in range(4):
        try:
            head[: len(head) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return True
    return False


def _is_safetensors(head: bytes, size: int | None) -> bool:
    length = int.from_bytes(head[:8], "little")
    fits = 2 <= length <= _MAX_HEADER and (size is None or length + 8 <= size)
    return fits and head[8:9] == b"{"


def _may_be_onnx(head: bytes) -> bool:
    """A model of ONNX begins with its version of the format, then texts or the graph."""
    return len(head) > 4 and head[0] == 0x08 and 0 < head[1] < 0x40 and head[2] in (0x12, 0x1A, 0x22, 0x2A, 0x3A, 0x42)
