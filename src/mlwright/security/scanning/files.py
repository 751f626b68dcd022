"""Finds the files to scan, and opens each so that nothing on a file system can hang or mislead the scan."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlwright.security.scanning.limits import Limits
from mlwright.security.scanning.scanner import scan_open_file, unreadable
from mlwright.security.scanning.spec import FileReport

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def scan(paths: Iterable[str | Path], limits: Limits | None = None) -> Iterator[FileReport]:
    """Scan files, and folders with all that is below them; yields one report for each file. Raises nothing.

    Links to files are followed, as loaders do. Links to folders are followed only where a folder is named itself;
    below it, one that leads out is reported as unreadable.
    """
    limits = limits or Limits()
    for path in paths:
        name = os.fspath(path)
        try:
            mode = Path(name).stat().st_mode
        except (OSError, ValueError) as error:
            yield unreadable(written(name), -1, _reason(error))
            continue
        if stat.S_ISDIR(mode):
            yield from _scan_folder(name, limits)
        else:
            yield scan_file(name, limits)


def scan_file(path: str | Path, limits: Limits | None = None) -> FileReport:
    """Scan one file. Raises nothing: what cannot be read is reported so."""
    name = os.fspath(path)
    try:
        mode = Path(name).stat().st_mode  # first: opening a device may do something
        if not stat.S_ISREG(mode):
            return unreadable(written(name), -1, f"it is {_SPECIAL.get(stat.S_IFMT(mode), 'no file')}")
        file = os.open(name, _FLAGS)
    except (OSError, ValueError) as error:
        return unreadable(written(name), -1, _reason(error))
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            return unreadable(written(name), -1, "it changed while it was opened")
        if not found.st_size and os.read(file, 1):
            return unreadable(written(name), -1, "the system says that it is empty, and it is not")
        return scan_open_file(file, written(name), found.st_size, limits or Limits())
    finally:
        os.close(file)


def _scan_folder(root: str, limits: Limits) -> Iterator[FileReport]:
    real_root = os.path.realpath(root)
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield unreadable(written(folder), -1, _reason(error))
            continue
        below = []
        for entry in entries:
            if _is_folder(entry):
                below.append(entry.path)
            elif entry.is_symlink() and Path(entry.path).is_dir():
                if not _is_inside(entry.path, real_root):
                    yield unreadable(written(entry.path), -1, "it is a link to a folder elsewhere: name that folder")
            else:
                yield scan_file(entry.path, limits)
        waiting += reversed(below)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False  # opening it will say why


def _is_inside(path: str, real_root: str) -> bool:
    return os.path.commonpath([os.path.realpath(path), real_root]) == real_root


def _reason(error: Exception) -> str:
    why = error.strerror if isinstance(error, OSError) else str(error)
    return f"it cannot be read: {why or type(error).__name__}"


def written(path: str) -> str:
    """A path as text that every output can hold: bytes that are no UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
