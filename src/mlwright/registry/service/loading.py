"""Files of versions as loaders get them: of versions that may be trusted, byte for byte as they were registered."""

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import ArtifactFile
from mlwright.kernel.blobs import PREFIX
from mlwright.kernel.database import Database
from mlwright.kernel.errors import NotFound, Untrusted
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import pinning, signatures, trust, versions
from mlwright.registry.signatures.spec import FileProblem, Verification, VersionSignature
from mlwright.registry.spec import ModelVersion

Check = Callable[[Tx, ModelVersion], None]


class Files(Protocol):
    """The bytes of versions; blocks."""

    def copy(self, file: ArtifactFile, target: Path) -> None:
        """Put a file's bytes somewhere."""
        ...


class Digests(Protocol):
    """The bytes of versions, as they lie there; blocks."""

    def digest(self, file: ArtifactFile) -> str:
        """The digest of a file's bytes. Raises NotFound when they are gone."""
        ...


class Bytes(Protocol):
    """The bytes of versions, as they lie there; blocks."""

    def check(self, file: ArtifactFile) -> None:
        """Look at a file's bytes, unless they have not changed since. Raises NotFound and Untrusted."""
        ...


class VersionLoader:
    """Puts files of versions where a loader finds them. All calls block.

    Args:
        database: where versions stand.
        files: their bytes.
        check: raises Untrusted for a version that must not be loaded.
    """

    def __init__(self, database: Database, files: Files, check: Check = signatures.require) -> None:
        self._database = database
        self._files = files
        self._check = check

    def files(self, version: ModelVersion) -> list[ArtifactFile]:
        """The pinned files, with their paths in the version. Raises Invalid when it is not pinned, and Untrusted."""
        try:
            return self._database.read_now(partial(self._checked, version=version))
        except Untrusted as error:
            self._refuse(version, error.message, [])
            raise

    def copy(self, version: ModelVersion, path: str, target: Path) -> None:
        """Put one of the files into the file `target`. Raises NotFound, and Untrusted for other bytes."""
        stored = f"{pinning.root(version.storage)}/{path}"
        file = self._database.read_now(lambda tx: artifacts.get(tx, trust.SYSTEM, stored))
        self._files.copy(file, target)
        with target.open("rb") as written:
            found = PREFIX + hashlib.file_digest(written, "sha256").hexdigest()
        if found != file.digest:
            target.unlink()
            problem = FileProblem(path, _altered(file, found))
            self._refuse(version, f"{path}: {problem.reason}", [problem])
            raise Untrusted(f"{path}: {problem.reason}", path=path)

    def unpack(self, version: ModelVersion, folder: Path) -> None:
        """Put all files into a folder. Raises Invalid when the version is not pinned, NotFound and Untrusted."""
        for file in self.files(version):
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy(version, file.path, target)

    def _checked(self, tx: Tx, version: ModelVersion) -> list[ArtifactFile]:
        self._check(tx, version)
        found = trust.files(tx, version)
        trust.require_unchanged(version, found)
        return found

    def _refuse(self, version: ModelVersion, reason: str, problems: Sequence[FileProblem]) -> None:
        self._database.write_now(lambda tx: signatures.refused(tx, trust.SYSTEM, version, reason, list(problems)))


async def require(database: Database, files: Bytes, caller: Caller, version: ModelVersion) -> None:
    """Called before a client is led to a version's files. Raises Untrusted, and puts that on the record."""
    problems: list[FileProblem] = []
    try:
        found = await database.read(lambda tx: _led_to(tx, version))
        problems = await asyncio.to_thread(_changed, files, found)
        if problems:
            raise Untrusted(f"version {version.version} of {version.name!r}: {_named(problems)}", path=problems[0].path)
    except Untrusted as error:
        reason = error.message
        await database.write(lambda tx: signatures.refused(tx, caller, version, reason, problems))
        raise


def _led_to(tx: Tx, version: ModelVersion) -> list[ArtifactFile]:
    """The pinned files of a version that may be loaded, small ones with their bytes; none when they lie elsewhere."""
    trust.require(tx, version)
    if version.digest is None:
        return []
    found = trust.files(tx, version)
    trust.require_unchanged(version, found)
    return [msgspec.structs.replace(file, content=artifacts.content(tx, file.digest)) for file in found]


def _changed(files: Bytes, found: Sequence[ArtifactFile]) -> list[FileProblem]:
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        problems = threads.map(partial(_change, files), found)
        return [problem for problem in problems if problem is not None]


def _change(files: Bytes, file: ArtifactFile) -> FileProblem | None:
    try:
        files.check(file)
    except NotFound:
        return FileProblem(file.path, "its bytes are gone")
    except Untrusted:
        return FileProblem(file.path, "its bytes are not those that were registered")
    return None


def _named(problems: Sequence[FileProblem]) -> str:
    return "; ".join(f"{each.path}: {each.reason}" for each in problems[:5])


def verify(
    database: Database, files: Digests, caller: Caller, name: str, number: int, project: str = ""
) -> Verification:
    """Look at every byte of a version and at its signatures; blocks. What is refused is an event.

    Raises NotFound, and Invalid for a version that is not pinned.
    """

    def read(tx: Tx) -> tuple[ModelVersion, list[ArtifactFile], Verification]:
        version = versions.find(tx, caller, name, number, Role.VIEWER, project)[1]
        found = trust.files(tx, version)
        signed = trust.signatures(tx, version)
        reason = _why_not(version, found, signed)
        size = sum(file.size for file in found)
        return version, found, Verification(not reason, reason, version.digest or "", len(found), size, signed, [])

    version, found, verification = database.read_now(read)
    root = pinning.root(version.storage)

    def problem_of(file: ArtifactFile) -> FileProblem | None:
        stored = database.read_now(lambda tx: artifacts.get(tx, trust.SYSTEM, f"{root}/{file.path}"))
        return _problem(files, file, stored)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        problems = [problem for problem in threads.map(problem_of, found) if problem is not None]
    if problems:
        verification = msgspec.structs.replace(verification, trusted=False, reason=_named(problems), problems=problems)
    if problems or (verification.signatures and not verification.trusted):
        database.write_now(lambda tx: signatures.refused(tx, caller, version, verification.reason, problems))
    return verification


def _why_not(version: ModelVersion, found: Sequence[ArtifactFile], signed: Sequence[VersionSignature]) -> str:
    try:
        trust.require_unchanged(version, found)
    except Untrusted as error:
        return error.message
    if any(each.trusted for each in signed):
        return ""
    reasons = "; ".join(each.reason for each in signed)
    return reasons or f"version {version.version} of {version.name!r} is not signed"


def _problem(files: Digests, file: ArtifactFile, stored: ArtifactFile) -> FileProblem | None:
    try:
        found = files.digest(stored)
    except NotFound:
        return FileProblem(file.path, "its bytes are gone")
    return None if found == file.digest else FileProblem(file.path, _altered(file, found))


def _altered(file: ArtifactFile, found: str) -> str:
    return f"its bytes are not those that were registered ({found[:19]}… instead of {file.digest[:19]}…)"
