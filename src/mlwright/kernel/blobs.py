"""Blobs: immutable bytes, named by their SHA-256 digest, streamed in and out.

Writing hashes as it goes and publishes by rename after an fsync: a blob is whole or not there. Equal bytes are stored
once. All calls block; callers on the event loop run them in a thread.
"""

import errno
import hashlib
import os
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from mlwright.kernel.errors import Invalid, NotFound, StorageFull, Unavailable, Untrusted
from mlwright.kernel.soundness import Soundness
from mlwright.kernel.spool import SpoolFile

PREFIX = "sha256:"
#: Bytes per read and write while streaming.
PIECE_BYTES = 1 << 20
#: From this size on, a piece is hashed and written at the same time.
_HASHED_BESIDE_BYTES = 128 << 10

#: scheme of the artifact store URL -> "module:class"
STORES = {
    "s3": "mlwright.backends.objectstore:ObjectStoreBlobs",
    "gs": "mlwright.backends.objectstore:ObjectStoreBlobs",
    "az": "mlwright.backends.objectstore:ObjectStoreBlobs",
}


class Blob(msgspec.Struct, frozen=True):
    """A stored blob: its digest ("sha256:…") and size in bytes."""

    digest: str
    size: int


class BlobWriter(Protocol):
    """Bytes on their way in. Exactly one of `commit` and `abort` ends it."""

    def write(self, data: bytes) -> None:
        """Append bytes. Raises StorageFull."""
        ...

    def commit(self) -> Blob:
        """Make the blob durable and visible."""
        ...

    def abort(self) -> None:
        """Forget what was written."""
        ...


class Blobs(Protocol):
    """A content-addressed store."""

    def writer(self) -> BlobWriter:
        """Start a new blob."""
        ...

    def read(self, digest: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes [start, end) in pieces. Raises NotFound before the first piece."""
        ...

    def path(self, digest: str) -> Path | None:
        """The file that holds the blob, where there is one on this machine."""
        ...

    def is_sound(self, digest: str) -> bool:
        """Whether `check` would have nothing to do; does not read the bytes. Raises NotFound."""
        ...

    def check(self, digest: str) -> None:
        """Read the blob, unless it is as it was when it was written or last read whole; blocks.

        Raises NotFound, and Untrusted when its bytes are not those that it is named by.
        """
        ...

    def delete(self, digest: str) -> None:
        """Remove a blob; does nothing when it is not there."""
        ...

    def delete_older(self, digest: str, before_s: float) -> bool:
        """Remove a blob unless it was written, also again, after Unix time `before_s`. Returns whether it went."""
        ...

    def digests(self) -> Iterator[tuple[str, int, float]]:
        """All blobs: digest, size in bytes, and Unix time in seconds of the last write."""
        ...


def open_blobs(location: str) -> Blobs:
    """The store at a folder or a URL (s3://bucket/prefix, gs://…, az://…). Raises Invalid for other schemes."""
    scheme, separator, _ = location.partition("://")
    if not separator:
        return DirectoryBlobs(Path(location))
    if scheme == "file":
        return DirectoryBlobs(Path(location.removeprefix("file://")))
    target = STORES.get(scheme)
    if target is None:
        raise Invalid(
            f"unknown artifact store {scheme}://", path="artifacts", hint="use a folder, s3://, gs:// or az://"
        )
    module, name = target.split(":")
    store: Blobs = getattr(import_module(module), name)(location)
    return store


def checked(digest: str) -> str:
    """The 64 hexadecimal digits of `digest`. Raises Invalid for anything else: digests become file names."""
    digits = digest.removeprefix(PREFIX)
    if len(digits) != 64 or not digest.startswith(PREFIX) or set(digits) - set("0123456789abcdef"):
        raise Invalid(f"not a digest: {digest!r}", path="digest")
    return digits


def blob_of(data: bytes) -> Blob:
    """What `data` is called as a blob; stores nothing."""
    return Blob(f"{PREFIX}{hashlib.sha256(data).hexdigest()}", len(data))


def missing(digest: str) -> NotFound:
    """The error for a blob that is not there."""
    return NotFound(f"there is no blob {digest}", hint="run: mlwright doctor")


def altered(digest: str) -> Untrusted:
    """The error for a blob that holds other bytes than those it is named by."""
    return Untrusted(
        f"the bytes of {digest} are not those that were stored",
        hint="restore the file from a backup, or store it again",
    )


def verify(blobs: Blobs, digest: str) -> bool:
    """Whether the stored bytes still have the digest they are named by."""
    found = hashlib.sha256()
    for piece in blobs.read(digest):
        found.update(piece)
    return found.hexdigest() == checked(digest)


def check_once(blobs: Blobs, soundness: Soundness, digest: str, stamp: object) -> None:
    """Read a blob whose stamp is not known yet, and note it. Raises Untrusted when its bytes are others."""
    if soundness.knows(digest, stamp):
        return
    if not verify(blobs, digest):
        raise altered(digest)
    soundness.note(digest, stamp)


class DirectoryBlobs:
    """Blobs in a folder: `sha256/ab/cdef…`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._soundness = Soundness()
        #: Held while a blob gets its name or loses it: writing one again must win over collecting it.
        self.publishing = threading.Lock()
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"{root} cannot be written: {error.strerror}", path=str(root)) from error
        self._sweep()

    def _sweep(self) -> None:
        """Remove what a killed process left half-written."""
        for leftover in self._incoming.iterdir():
            leftover.unlink(missing_ok=True)

    def writer(self) -> BlobWriter:
        return _FileWriter(self, self._incoming / secrets.token_hex(16))

    def file(self, digits: str) -> Path:
        return self._root / "sha256" / digits[:2] / digits[2:]

    def path(self, digest: str) -> Path | None:
        return self.file(checked(digest))

    def is_sound(self, digest: str) -> bool:
        return self._soundness.knows(digest, self._stamp(digest))

    def check(self, digest: str) -> None:
        check_once(self, self._soundness, digest, self._stamp(digest))

    def written(self, digest: str) -> None:
        """The blob has just been written as it is named."""
        self._soundness.note(digest, self._stamp(digest))

    def _stamp(self, digest: str) -> object:
        """Nobody but the kernel sets the time of change, and it does at every write."""
        try:
            status = self.file(checked(digest)).stat()
        except FileNotFoundError:
            raise missing(digest) from None
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino

    def read(self, digest: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        try:
            file = self.file(checked(digest)).open("rb")
        except FileNotFoundError:
            raise missing(digest) from None
        return _pieces(file, start, end)

    def delete(self, digest: str) -> None:
        self.file(checked(digest)).unlink(missing_ok=True)

    def delete_older(self, digest: str, before_s: float) -> bool:
        path = self.file(checked(digest))
        with self.publishing:
            try:
                if path.stat().st_mtime >= before_s:
                    return False
                path.unlink()
            except FileNotFoundError:
                return False
        return True

    def digests(self) -> Iterator[tuple[str, int, float]]:
        for folder in sorted((self._root / "sha256").glob("??")):
            for file in sorted(folder.iterdir()):
                status = file.stat()
                yield f"{PREFIX}{folder.name}{file.name}", status.st_size, status.st_mtime


def _pieces(file: BinaryIO, start: int, end: int | None) -> Iterator[bytes]:
    with file:
        file.seek(start)
        left = None if end is None else end - start
        while left is None or left > 0:
            piece = file.read(PIECE_BYTES if left is None else min(PIECE_BYTES, left))
            if not piece:
                return
            if left is not None:
                left -= len(piece)
            yield piece


class _FileWriter:
    """A file in `incoming` until its digest is known. Large pieces are hashed while they are written."""

    def __init__(self, store: DirectoryBlobs, path: Path) -> None:
        self._store = store
        self._path = path
        self._hash = hashlib.sha256()
        self._hashing: ThreadPoolExecutor | None = None
        self._size = 0
        self._file = SpoolFile(path)

    def write(self, data: bytes) -> None:
        hashed = self._hash_beside(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise _explained(error, self._path) from error
        finally:
            hashed.result()
        self._size += len(data)

    def _hash_beside(self, data: bytes) -> "Future[None]":
        if len(data) < _HASHED_BESIDE_BYTES:  # switching threads would take longer
            self._hash.update(data)
            done: Future[None] = Future()
            done.set_result(None)
            return done
        if self._hashing is None:
            self._hashing = ThreadPoolExecutor(1, thread_name_prefix="mlwright-hash")
        return self._hashing.submit(self._hash.update, data)

    def commit(self) -> Blob:
        self._end_hashing()
        digits = self._hash.hexdigest()
        target = self._store.file(digits)
        try:
            self._file.finish()
            if not target.parent.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                _sync_folder(target.parent.parent)
            os.utime(self._path)
            with self._store.publishing:
                self._path.replace(target)
                self._store.written(f"{PREFIX}{digits}")
            _sync_folder(target.parent)
        except OSError as error:
            self.abort()
            raise _explained(error, target) from error
        return Blob(f"{PREFIX}{digits}", self._size)

    def abort(self) -> None:
        self._end_hashing()
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _end_hashing(self) -> None:
        if self._hashing is not None:
            self._hashing.shutdown()
            self._hashing = None


def _sync_folder(folder: Path) -> None:
    """A rename is durable once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explained(error: OSError, path: Path) -> Exception:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageFull(f"the disk with {path.parent} is full", hint="free some space; no restart is needed")
    return Unavailable(f"{path} cannot be written: {error.strerror}", path=str(path))
