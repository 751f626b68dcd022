"""Small pickles for tests, put together by opcode. Nothing here is ever loaded."""

from __future__ import annotations

import io
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path

from mlwright.security.scanning.files import scan_file
from mlwright.security.scanning.limits import Limits
from mlwright.security.scanning.spec import FileReport

#: Would call os.system with a harmless command, in three spellings.
EVIL = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R."
EVIL_TEXT = b"cposix\nsystem\n(S'true'\ntR."
EVIL_INST = b"(S'true'\niposix\nsystem\n."
BENIGN = pickle.dumps({"a": [1, 2.5, "text", None], "b": (b"bytes", {1, 2})}, 4)


def report(content: bytes, limits: Limits | None = None) -> FileReport:
    """What the scanner says about a file with that content."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return scan_file(file.name, limits)


def rules(content: bytes, limits: Limits | None = None) -> set[str]:
    """The rules that a file with that content breaks."""
    return {found.rule for found in report(content, limits).findings}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive with these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def text(value: str) -> bytes:
    """The opcode that puts a text on the stack."""
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw if len(raw) < 256 else b"X" + struct.pack("<I", len(raw)) + raw


def named(module: str, name: str) -> bytes:
    """The opcodes that import something."""
    return text(module) + text(name) + b"\x93"


def program(body: bytes) -> bytes:
    """A pickle of protocol 4."""
    return b"\x80\x04" + body + b"."


def sparse(path: Path, size: int, head: bytes = b"") -> Path:
    """A file that is said to be as large as `size`, and takes hardly any room."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    return path
