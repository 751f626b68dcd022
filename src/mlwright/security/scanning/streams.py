"""Bytes to read forward: from a part of a file, where skipping costs nothing, or out of a decompressor."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from mlwright.security.scanning.limits import Budget, OverBudgetError, TruncatedError

CHUNK = 1 << 18


class Stream:
    """A window over bytes that go forward.

    Attributes:
        buf: the bytes of the window.
        pos: where in the window the next byte is.
        base: offset of the window's first byte from the start.
    """

    def __init__(self, more: Callable[[], bytes], jump: Callable[[int], int] | None = None) -> None:
        """`more` gives the bytes after the window, none at the end; `jump` passes over some after the window."""
        self.buf = b""
        self.pos = 0
        self.base = 0
        self._more = more
        self._jump = jump
        self._ended = False

    @property
    def offset(self) -> int:
        """How many bytes lie behind."""
        return self.base + self.pos

    def fill(self, count: int) -> int:
        """Bring at least `count` bytes into the window if there are so many; returns how many there are."""
        here = len(self.buf) - self.pos
        if here >= count or self._ended:
            return here
        pieces = [self.buf[self.pos :]]
        while here < count:
            more = self._more()
            if not more:
                self._ended = True
                break
            pieces.append(more)
            here += len(more)
        self.base += self.pos
        self.buf, self.pos = b"".join(pieces), 0
        return here

    def peek(self, count: int) -> bytes:
        """The next bytes, fewer at the end, without passing them."""
        self.fill(count)
        return self.buf[self.pos : self.pos + count]

    def read(self, count: int) -> bytes:
        """The next `count` bytes. Raises TruncatedError when there are fewer."""
        if self.fill(count) < count:
            raise TruncatedError("format-malformed", "it ends too early", offset=self.offset)
        start, self.pos = self.pos, self.pos + count
        return self.buf[start : self.pos]

    def skip(self, count: int) -> None:
        """Pass over bytes. Raises TruncatedError when there are fewer."""
        inside = min(count, len(self.buf) - self.pos)
        self.pos += inside
        count -= inside
        if count and self._jump is not None:
            passed = self._jump(count)
            self.base += len(self.buf) + passed
            self.buf, self.pos = b"", 0
            count -= passed
        while count:
            here = self.fill(1)
            if not here:
                raise TruncatedError("format-malformed", "it ends too early", offset=self.offset)
            inside = min(count, here)
            self.pos += inside
            count -= inside

    def line(self, limit: int) -> bytes | None:
        """The bytes up to a line feed, which is passed; None for a line longer than `limit`, which is passed too.

        Raises TruncatedError when no line feed comes.
        """
        kept: list[bytes] = []
        length = 0
        while True:
            if not self.fill(1):
                raise TruncatedError("format-malformed", "it ends in the middle of a line", offset=self.offset)
            end = self.buf.find(b"\n", self.pos)
            stop = len(self.buf) if end < 0 else end
            length += stop - self.pos
            if length <= limit:
                kept.append(self.buf[self.pos : stop])
            self.pos = stop
            if end >= 0:
                self.pos += 1
                return b"".join(kept) if length <= limit else None

    def at_end(self) -> bool:
        """True when nothing is left."""
        return not self.fill(1)

    def chunks(self) -> Iterator[bytes]:
        """All that is left, piece by piece."""
        while self.fill(1):
            piece = self.buf[self.pos :]
            self.pos = len(self.buf)
            yield piece


def fixed(content: bytes) -> Stream:
    """A stream of bytes that are here already."""
    pieces = iter((content,))
    return Stream(lambda: next(pieces, b""))


class Source(Protocol):
    """Something that can be read from its start, as often as needed."""

    def open(self) -> AbstractContextManager[Stream]:
        """Read it from its start."""
        ...


class View:
    """A part of an open file: can be read anywhere."""

    def __init__(self, file: int, start: int, size: int, budget: Budget) -> None:
        """`file` is a descriptor; the caller keeps it open."""
        self.size = size
        self.budget = budget
        self._file = file
        self._start = start

    def at(self, offset: int, count: int) -> bytes:
        """Bytes at an offset; fewer at the end. Raises OverBudgetError when the time is up."""
        self.budget.check_time()
        count = max(0, min(count, self.size - offset))
        found = os.pread(self._file, count, self._start + offset)
        while len(found) < count:
            more = os.pread(self._file, count - len(found), self._start + offset + len(found))
            if not more:
                break
            found += more
        return found

    def part(self, start: int, size: int) -> "View":
        """A part of this part. Raises TruncatedError when it does not lie inside."""
        if start < 0 or size < 0 or start + size > self.size:
            raise TruncatedError("archive-malformed", "a part lies outside of its container", offset=start)
        return View(self._file, self._start + start, size, self.budget)

    @contextmanager
    def open(self) -> Iterator[Stream]:
        """Read it from its start."""
        at = 0

        def more() -> bytes:
            nonlocal at
            found = self.at(at, CHUNK)
            at += len(found)
            return found

        def jump(count: int) -> int:
            nonlocal at
            passed = min(count, self.size - at)
            at += passed
            self.budget.unread += passed
            return passed

        yield Stream(more, jump)


class Decompressor(Protocol):
    """How bz2 and lzma unpack; zlib is made alike."""

    @property
    def eof(self) -> bool:
        """True when the packed stream has ended."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What came after its end."""
        ...

    @property
    def needs_input(self) -> bool:
        """False when there is more output for what was put in."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """At most `max_length` bytes of output."""
        ...


class Unpacked:
    """What comes out of a decompressor that reads another source."""

    def __init__(
        self, inner: Source, make: Callable[[], Decompressor], budget: Budget, *, skip: int = 0, many: bool = True
    ) -> None:
        """`skip` bytes before the packed ones are passed over; `many`: further packed streams may follow the first."""
        self.budget = budget
        self._inner = inner
        self._make = make
        self._skip = skip
        self._many = many

    @contextmanager
    def open(self) -> Iterator[Stream]:
        """Unpack from the start."""
        with self._inner.open() as packed:
            packed.skip(self._skip)
            pieces = self._pieces(packed)
            yield Stream(lambda: next(pieces, b""))

    def _pieces(self, packed: Stream) -> Iterator[bytes]:
        machine = self._make()
        waiting = b""
        while True:
            if machine.eof:
                waiting = machine.unused_data or waiting
                if not waiting and packed.at_end():
                    return
                if not self._many:
                    raise TruncatedError("archive-malformed", "bytes follow the packed ones", offset=packed.offset)
                machine = self._make()
            if machine.needs_input and not waiting:
                packed.fill(1)
                waiting = packed.buf[packed.pos :]
                packed.pos = len(packed.buf)
                if not waiting:
                    raise TruncatedError("archive-malformed", "the packed bytes end too early", offset=packed.offset)
            found = self._unpack(machine, waiting, packed)
            waiting = b""
            self.budget.check_time()
            if found:
                self.budget.expand(len(found))
                yield found

    @staticmethod
    def _unpack(machine: Decompressor, waiting: bytes, packed: Stream) -> bytes:
        try:
            return machine.decompress(waiting, CHUNK)
        except MemoryError:
            raise OverBudgetError("limit-expansion", "unpacking it needs too much memory") from None
        # Each decompressor has errors of its own, and all mean the same.
        except Exception as error:
            raise TruncatedError("archive-malformed", f"it cannot be unpacked: {error}", offset=packed.offset) from None
