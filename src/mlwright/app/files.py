"""Artifacts as other slices see them: their ports `Files`, on the artifacts slice."""

import hashlib
from pathlib import Path

from starlette.responses import Response

from mlwright.artifacts import service, transfer
from mlwright.artifacts.spec import SCHEME, SMALL_BYTES, ArtifactFile, Owners
from mlwright.kernel.blobs import PREFIX, Blobs, altered, blob_of
from mlwright.kernel.errors import Invalid
from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.registry.service.evidence import Stored
from mlwright.web.files import FileEntry, StoredFile


class ArtifactFiles:
    """Args:
    blobs: where the bytes lie.
    owners: what paths belong to.
    """

    def __init__(self, blobs: Blobs, owners: Owners) -> None:
        self._blobs = blobs
        self._owners = owners

    def entries(self, tx: Tx, caller: Caller, root_uri: str, path: str) -> list[FileEntry]:
        if not root_uri.startswith(SCHEME):
            return []
        root = service.resolve(root_uri, "", empty=True)
        folder = service.resolve(root_uri, path, empty=True)
        found = service.entries(tx, caller, self._owners, folder)
        return [FileEntry(entry.path.removeprefix(f"{root}/"), entry.is_dir, entry.size) for entry in found]

    def find(self, tx: Tx, caller: Caller, root_uri: str, path: str) -> StoredFile:
        file = service.get(tx, caller, service.resolve(root_uri, path))
        return StoredFile(file.path, file.size, file.digest, file.created_ms, file.content)

    def read(self, file: StoredFile, limit: int) -> bytes:
        if limit <= 0:
            raise Invalid("limit must be positive", path="limit")
        return _beginning(self._blobs, file, limit)

    async def send(self, file: StoredFile, *, inline: bool) -> Response:
        stored = ArtifactFile(file.path, "", file.digest, file.size, file.created_ms, file.content)
        return await transfer.send(stored, self._blobs, inline=inline)


class VersionFiles:
    """The files of registered versions.

    Args:
        blobs: where the bytes lie.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def read(self, file: ArtifactFile, limit: int) -> bytes:
        return _beginning(self._blobs, file, limit)

    def copy(self, file: ArtifactFile, target: Path) -> None:
        with target.open("wb") as out:
            for piece in [file.content] if file.content is not None else self._blobs.read(file.digest):
                out.write(piece)

    def digest(self, file: ArtifactFile) -> str:
        path = self._blobs.path(file.digest) if file.content is None else None
        if path is not None and path.exists():
            with path.open("rb") as stored:
                return PREFIX + hashlib.file_digest(stored, "sha256").hexdigest()
        found = hashlib.sha256()
        for piece in [file.content] if file.content is not None else self._blobs.read(file.digest):
            found.update(piece)
        return PREFIX + found.hexdigest()

    def store(self, data: bytes) -> Stored:
        if len(data) <= SMALL_BYTES:
            return Stored(blob_of(data), data)
        return Stored(transfer.stored(self._blobs, [data]), None)

    def check(self, file: ArtifactFile) -> None:
        if file.content is None:
            self._blobs.check(file.digest)
        elif blob_of(file.content).digest != file.digest:
            raise altered(file.digest)

    async def send(self, file: ArtifactFile) -> Response:
        return await transfer.send(file, self._blobs)


def _beginning(blobs: Blobs, file: StoredFile | ArtifactFile, limit: int) -> bytes:
    """At most `limit` bytes of a file, wherever they are kept."""
    if file.content is not None:
        return file.content[:limit]
    return b"".join(blobs.read(file.digest, 0, min(limit, file.size))) if file.size else b""
