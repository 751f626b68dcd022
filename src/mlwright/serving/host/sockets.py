"""UNIX sockets wherever they lie: the kernel takes names of about a hundred bytes only."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A short name for a path, by way of its folder's descriptor, within the block."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listening(path: Path) -> socket.socket:
    """Listen there, instead of whoever did: an older process keeps answering who is connected already."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    with short_name(new) as name:
        found.bind(name)
    new.chmod(0o600)
    found.listen(64)
    new.replace(path)
    return found


def connected(path: Path, timeout_s: float | None) -> socket.socket:
    """Connect to who listens there. Raises OSError."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.settimeout(timeout_s)
        with short_name(path) as name:
            found.connect(name)
    except BaseException:  # also when interrupted: the descriptor must not stay open
        found.close()
        raise
    return found
