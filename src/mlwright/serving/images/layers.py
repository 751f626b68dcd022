"""Layers of images: tars whose bytes depend on nothing but what is in them, kept by what they were made from.

https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

import contextlib
import hashlib
import os
import stat
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import msgspec

_TAR = "application/vnd.oci.image.layer.v1.tar"
_PIECE = 1 << 20
#: Longer than writing a layer takes: what is older was left behind by somebody who was killed.
_DEAD_S = 86_400.0
#: One number for all layers of this shape: raised when the same entries are to be written otherwise.
_FORM = "1"


class Entry(NamedTuple):
    """One name in a layer.

    Attributes:
        path: in the image, without the leading slash.
        source: a file here, or bytes; None for folders and links.
        mode: its permissions.
        link: where a symbolic link leads; empty for everything else.
    """

    path: str
    source: Path | bytes | None
    mode: int = 0o644
    link: str = ""


class Layer(msgspec.Struct, frozen=True):
    """A layer that is kept.

    Attributes:
        digest: of its bytes, as "sha256:…".
        diff_id: of its tar; the same, unless it is compressed.
        size: bytes.
        media_type: OCI's.
    """

    digest: str
    diff_id: str
    size: int
    media_type: str = _TAR


class _Hashing:
    """A file that knows the digest of what was written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self.size

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


class Layers:
    """Layers below a folder.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("blobs", "keys"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def blob(self, digest: str) -> Path:
        """Where the bytes are."""
        return self._folder / "blobs" / digest.removeprefix("sha256:")

    def has(self, layer: Layer) -> bool:
        """Whether it is there, and may be used for some time to come."""
        try:
            os.utime(self.blob(layer.digest))
            return self.blob(layer.digest).stat().st_size == layer.size
        except FileNotFoundError:
            return False

    def layer(self, key: str, entries: Callable[[], Iterable[Entry]]) -> Layer:
        """The layer of that key, written from its entries when it is not there.

        Args:
            key: says all that the entries depend on.
        """
        note = self._note(key)
        try:
            found = msgspec.json.decode(note.read_bytes(), type=Layer)
            if self.has(found):
                os.utime(note)
                return found
        except (OSError, msgspec.DecodeError):  # it is not there, or not whole
            pass
        return self._keep(note, lambda file: _write(file, entries()))

    def files(self, entries: Iterable[Entry]) -> Layer:
        """The layer of these entries; files are known again by name, size and time, as `make` does."""
        listed = list(entries)
        return self.layer(key_of(listed), lambda: listed)

    def adopt(self, key: str, data: Callable[[IO[bytes]], None]) -> Layer:
        """A tar that somebody else has made."""
        return self._keep(self._note(key), data)

    def _note(self, key: str) -> Path:
        return self._folder / "keys" / hashlib.sha256(f"{_FORM} {key}".encode()).hexdigest()

    def _keep(self, note: Path, write: Callable[[IO[bytes]], None]) -> Layer:
        """Write a blob, give it its name when it is whole, and then note which it is."""
        with tempfile.NamedTemporaryFile(dir=self._folder / "blobs", prefix=".", delete=False) as file:
            try:
                hashing = _Hashing(file)
                write(hashing)  # type: ignore[arg-type]
                file.flush()
                Path(file.name).chmod(0o444)
                Path(file.name).replace(self.blob(hashing.digest))
            finally:
                Path(file.name).unlink(missing_ok=True)
        made = Layer(hashing.digest, hashing.digest, hashing.size)
        new = note.with_name(f"{note.name}.{threading.get_native_id()}")
        new.write_bytes(msgspec.json.encode(made))
        new.replace(note)
        return made

    def collect(self, before_s: float) -> None:
        """Remove what nobody has used since a Unix time in seconds."""
        for path in (*(self._folder / "keys").iterdir(), *(self._folder / "blobs").iterdir()):
            with contextlib.suppress(FileNotFoundError):  # somebody else was faster
                used_s = path.stat().st_mtime
                if used_s < before_s or (path.name.startswith(".") and used_s < time.time() - _DEAD_S):
                    path.unlink()


def tree(folder: Path, place: str, leave_out: Callable[[str], bool] = lambda _: False) -> Iterator[Entry]:
    """What lies below a folder, as entries below `place`. Sockets and devices are left out.

    Args:
        leave_out: told a path relative to the folder; what lies below a folder that is left out, is too.
    """
    left = [""]
    while left:
        above = left.pop()
        with os.scandir(folder / above) as found:
            for each in found:
                path = f"{above}{each.name}"
                if leave_out(path):
                    continue
                if each.is_symlink():
                    yield Entry(f"{place}{path}", None, 0o777, str(Path(each.path).readlink()))
                elif each.is_dir():
                    left.append(f"{path}/")
                elif each.is_file():
                    executable = each.stat().st_mode & stat.S_IXUSR
                    yield Entry(f"{place}{path}", Path(each.path), 0o755 if executable else 0o644)


def key_of(entries: Iterable[Entry]) -> str:
    """What says whether entries are the same as others, without reading files."""
    found = hashlib.sha256()
    for entry in sorted(entries):
        source: object = entry.source
        if isinstance(entry.source, Path):
            known = entry.source.stat()
            source = (str(entry.source), known.st_size, known.st_mtime_ns, known.st_ino)
        elif isinstance(entry.source, bytes):
            source = hashlib.sha256(entry.source).hexdigest()
        found.update(repr((entry.path, entry.mode, entry.link, source)).encode())
    return f"files {found.hexdigest()}"


def _write(file: IO[bytes], entries: Iterable[Entry]) -> None:
    """Write a tar: sorted, folders before what is in them, owned by root, of the beginning of time."""
    known = {entry.path: entry for entry in entries}
    for path in list(known):
        for parent in PurePosixPath(path).parents:
            if str(parent) != ".":
                known.setdefault(str(parent), Entry(str(parent), None, 0o755))
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_PIECE) as tar:
        for path in sorted(known, key=lambda each: each.split("/")):
            entry = known[path]
            info = tarfile.TarInfo(path)
            info.mode = entry.mode
            if entry.link:
                info.type, info.linkname = tarfile.SYMTYPE, entry.link
                tar.addfile(info)
            elif entry.source is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif isinstance(entry.source, bytes):
                info.size = len(entry.source)
                tar.addfile(info, BytesIO(entry.source))
            else:
                with entry.source.open("rb") as source:
                    info.size = os.fstat(source.fileno()).st_size
                    tar.addfile(info, source)
