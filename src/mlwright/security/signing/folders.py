"""Hashing a model that lies in a folder."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlwright.kernel.errors import Invalid, NotFound, Unavailable
from mlwright.security.signing.spec import Manifest, SignedFile, manifest

#: Names in the model's folder that do not count, as in the reference implementation.
GIT_PATHS = (".git", ".gitattributes", ".github", ".gitignore")


def manifest_of(folder: Path, name: str = "", ignored: Iterable[str] = GIT_PATHS) -> Manifest:
    """Hash all files of a folder, as many at a time as there are processors.

    Args:
        folder: of the model.
        name: of the model; that of the folder when not given.
        ignored: paths relative to the folder that do not count, with all below them.

    Raises NotFound, Invalid for links, devices and names that are not UTF-8, and Unavailable for what cannot be read.
    """
    skipped = frozenset(ignored)
    if not folder.is_dir():
        raise NotFound(f"{folder} is not a folder")
    paths = list(_files(folder, "", skipped))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        digests = threads.map(lambda path: _digest(folder / path), paths)
        files = [SignedFile(path, digest) for path, digest in zip(paths, digests, strict=True)]
    return manifest(name or folder.resolve().name, files, skipped)


def _files(folder: Path, below: str, ignored: frozenset[str]) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise Unavailable(f"{folder} cannot be read: {error.strerror}", path=str(folder)) from error
    for entry in entries:
        path = below + entry.name
        if path in ignored:
            continue
        if not _is_text(path):
            raise Invalid(f"the name {path!r} is not UTF-8, and cannot be signed")
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path), f"{path}/", ignored)
        elif entry.is_file(follow_symlinks=False):
            yield path
        else:
            kind = "a link" if entry.is_symlink() else "no regular file"
            raise Invalid(f"{path!r} is {kind}, and cannot be signed", hint="put the file itself there, or remove it")


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
