"""A file that is written once, from its beginning to its end. What is large goes past the page cache.

The first part stays in memory, since whoever writes a file often reads it soon. But gigabytes would push out everything
else that is kept there, and finding pages for them costs several times what writing them to the disk costs.
"""

import fcntl
import mmap
import os
from pathlib import Path

#: So much of a file goes through the page cache. A multiple of what direct writes must be aligned to.
CACHED_BYTES = 64 << 20
_BUFFER_BYTES = 1 << 20
_DIRECT = getattr(os, "O_DIRECT", 0)  # Linux only


class SpoolFile:
    """A new file.

    Args:
        path: must not exist.

    Raises OSError, here and from all methods.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._cached_left = CACHED_BYTES
        self._buffer: mmap.mmap | None = None  # aligned, unlike a bytearray
        self._buffered = 0

    def write(self, data: bytes) -> None:
        """Append bytes; some of them may wait for more, or for `finish`."""
        left = memoryview(data)
        if self._cached_left:
            cached, left = left[: self._cached_left], left[self._cached_left :]
            self._write(cached)
            self._cached_left -= len(cached)
            if not self._cached_left and self._set_direct(on=True):
                self._buffer = mmap.mmap(-1, _BUFFER_BYTES)
        if self._buffer is None:
            self._write(left)
        else:
            self._gather(self._buffer, left)

    def finish(self) -> None:
        """Write what waits, make all of it durable, and close."""
        if self._buffer is not None:
            self._set_direct(on=False)  # the rest has any length
            self._write(memoryview(self._buffer)[: self._buffered])
        os.fsync(self._file.fileno())
        self.close()

    def close(self) -> None:
        """Leave the file as it is."""
        self._file.close()
        self._buffer = None

    def _gather(self, buffer: mmap.mmap, left: memoryview) -> None:
        while left:
            part = left[: _BUFFER_BYTES - self._buffered]
            buffer[self._buffered : self._buffered + len(part)] = part
            self._buffered += len(part)
            left = left[len(part) :]
            if self._buffered == _BUFFER_BYTES:
                self._write(memoryview(buffer))
                self._buffered = 0

    def _write(self, left: memoryview) -> None:
        while left:  # a disk that gets full takes a part, and complains at the next one only
            left = left[self._file.write(left) :]

    def _set_direct(self, *, on: bool) -> bool:
        """Whether the file now is written past the page cache; not all file systems can."""
        descriptor = self._file.fileno()
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~_DIRECT
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | _DIRECT if on else flags)
        except OSError:
            return False
        return on and bool(_DIRECT)
