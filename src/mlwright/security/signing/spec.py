"""The words of signing."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from mlwright.kernel.errors import Invalid


class SignedFile(msgspec.Struct, frozen=True, order=True):
    """A file of a model: its path within the model, with "/", and the SHA-256 of its bytes in hexadecimal."""

    path: str
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What is signed: a model's name and all its files, by path, each once.

    `ignored` are paths, relative to the model, that did not count when it was hashed.
    """

    name: str
    files: tuple[SignedFile, ...]
    ignored: tuple[str, ...] = ()


class Change(StrEnum):
    """How a file differs from what was signed."""

    CHANGED = "changed"
    MISSING = "missing"
    ADDED = "added"


class Difference(msgspec.Struct, frozen=True):
    """A file that is not as it was signed."""

    path: str
    change: Change


def manifest(name: str, files: Iterable[SignedFile], ignored: Iterable[str] = ()) -> Manifest:
    """A manifest in canonical order. Raises Invalid for a model without files and for paths that lead elsewhere."""
    ordered = tuple(sorted(files))
    if not ordered:
        raise Invalid("there are no files to sign", path=name)
    seen: set[str] = set()
    for each in ordered:
        parts = each.path.split("/")
        if each.path in seen or "\0" in each.path or "\\" in each.path or {"", ".", ".."} & set(parts):
            raise Invalid(f"{each.path!r} cannot be the path of a signed file", path=name)
        seen.add(each.path)
    return Manifest(name, ordered, tuple(sorted(ignored)))


def differences(signed: Manifest, found: Manifest) -> list[Difference]:
    """The files of `found` that are not as they were signed, by path."""
    before, now = ({each.path: each.sha256 for each in side.files} for side in (signed, found))
    different = [path for path in before.keys() | now.keys() if before.get(path) != now.get(path)]
    return [Difference(path, _change(path in before, path in now)) for path in sorted(different)]


def _change(was: bool, is_now: bool) -> Change:
    if was and is_now:
        return Change.CHANGED
    return Change.MISSING if was else Change.ADDED
