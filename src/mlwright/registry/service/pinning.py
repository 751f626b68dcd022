"""Where the files of versions are pinned, and the digest of all of them.

A version has a folder of its own among the artifacts. Its files are second names of blobs that the run or logged model
named first: nothing is copied, nothing done to the source matters afterwards, and garbage collection sees names.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import ArtifactFile
from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import locations


class Pinned(NamedTuple):
    """The files of a version. Paths are relative to the version's folder.

    Attributes:
        uri: of that folder, or of the source when the files are not kept here.
        digest: of all files; None when they are not kept here.
        size: bytes of all files.
    """

    uri: str
    digest: str | None
    size: int
    files: Sequence[ArtifactFile]


def folder(model: int, version: int | None = None) -> str:
    """The artifact folder of a version, or of all versions of a model, by the model's row number."""
    own = f"{locations.PINNED}/{model}"
    return own if version is None else f"{own}/{version}"


def pin(tx: Tx, caller: Caller, source: str, target: str, project: str) -> Pinned | None:
    """Name all files below the artifact folder `source` in the folder `target` too; None when there are none."""
    linked = artifacts.link(tx, caller, source, target, project)
    if not linked:
        return None
    files = [relative(file, target) for file in linked]
    return Pinned(f"{locations.SCHEME}/{target}", digest_of(files), sum(file.size for file in files), files)


def root(storage: str) -> str:
    """The artifact folder behind the storage URI of a version whose files are pinned."""
    return storage.removeprefix(f"{locations.SCHEME}/")


def relative(file: ArtifactFile, root: str) -> ArtifactFile:
    """The file with its path below the folder `root`."""
    return ArtifactFile(
        file.path.removeprefix(f"{root}/"), file.project, file.digest, file.size, file.created_ms, file.content
    )


def digest_of(files: Sequence[ArtifactFile]) -> str:
    """The digest of a version: SHA-256 of one line `<digest> <size> <path>` per file, ordered by the path's bytes.

    Paths hold no control characters, so no two lists of files have the same lines.
    """
    ordered = sorted(files, key=lambda file: file.path.encode())
    lines = "".join(f"{file.digest} {file.size} {file.path}\n" for file in ordered)
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
