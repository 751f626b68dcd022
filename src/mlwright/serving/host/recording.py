"""The prediction log, as far as the host goes: entries are kept in memory, and written by a thread a moment later.

What is full drops and counts; nothing here ever waits. A host that is killed loses what it has not handed to the
kernel: at most `FLUSH_S` of it, if the disk keeps up. Files are packed by a program of its own (`serving/packing.py`).
"""

import asyncio
import fcntl
import logging
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from mlwright.serving.host import spool
from mlwright.serving.host.spool import Entry
from mlwright.serving.host.state import Revision, Served
from mlwright.serving.host.tensors import Array, Asked
from mlwright.serving.host.traces import Ids

_log = logging.getLogger(__name__)

FLUSH_S = 0.05
#: Entries, and bytes of arrays, that may wait to be written.
_MOST_ENTRIES = 20_000
_MOST_BYTES = 64 << 20
#: About what an element of a list takes.
_ELEMENT = 64
#: Entries per frame: between frames the thread lets others run.
_FRAME_ENTRIES = 64
#: A file is closed, and packed, when it is so large or so old.
_FILE_BYTES = 32 << 20
_FILE_S = 600.0
#: Bytes that may lie there until they are packed.
_MOST_SPOOLED = 1 << 30
#: Bytes that are left to others, such as the database.
_LEAST_FREE = 512 << 20
#: What is too old is looked for so often, also where nothing is added.
_PACK_S = 86_400.0
_COMPLAIN_S = 60.0


class _Heard(msgspec.Struct, frozen=True, gc=False):
    ids: Ids
    served: Served
    revision: Revision
    entity: str
    latency_s: float
    rows: int
    arrays: Sequence[Array]
    asked: Asked | None


class Recorder:
    """Args:
    folder: of the log, or None where nothing is kept.
    now: seconds that never go back.

    Attributes:
        dropped: predictions that are not in the log, by endpoint.
        written: those that are, by endpoint.
    """

    def __init__(
        self, folder: Path | None, now: Callable[[], float], chance: Callable[[], float] = random.random
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self._folder = folder
        self._chance = chance
        self._file = SpoolFile(folder / spool.FOLDER, now) if folder is not None else None
        self._waiting: list[_Heard] = []
        self._bytes = 0
        self._armed = False
        self._writing: asyncio.Future[None] | None = None
        self._packing: subprocess.Popen[bytes] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mlwright-predictions")
        self._now = now
        self._complained_s = -_COMPLAIN_S
        self._packed_s = now()

    def record(
        self,
        ids: Ids,
        served: Served,
        revision: Revision,
        entity: str,
        latency_s: float,
        asked: Asked,
        arrays: Sequence[Array],
    ) -> None:
        """Keep an answered request."""
        logging_ = served.logging
        if self._file is None or not logging_.predictions:
            return
        keeps_inputs = logging_.sample >= 1.0 or self._chance() < logging_.sample
        size = sum(_size(each.data) for each in arrays)
        if keeps_inputs:
            size += sum(map(_size, asked.arrays))
        if len(self._waiting) >= _MOST_ENTRIES or (self._bytes and self._bytes + size > _MOST_BYTES):
            self.dropped[served.name] += 1
            return
        self._bytes += size
        self._waiting.append(
            _Heard(ids, served, revision, entity, latency_s, asked.rows, arrays, asked if keeps_inputs else None)
        )
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        if self._writing is not None and not self._writing.done():  # the disk is slow: more is taken until it is full
            loop.call_later(FLUSH_S, self._flush)
            return
        self._armed = False
        heard, self._waiting, self._bytes = self._waiting, [], 0
        self._writing = loop.run_in_executor(self._thread, self._write, heard)

    def _write(self, heard: list[_Heard]) -> None:
        assert self._file is not None
        for place in range(0, len(heard), _FRAME_ENTRIES):
            some = heard[place : place + _FRAME_ENTRIES]
            try:
                closed = self._file.append(spool.frame([_entry(each) for each in some]))
            except OSError as error:
                self.dropped.update(each.served.name for each in some)
                self._complain(error)
                continue
            self.written.update(each.served.name for each in some)
            if closed:
                self.pack()

    def _complain(self, error: OSError) -> None:
        if self._now() - self._complained_s >= _COMPLAIN_S:
            self._complained_s = self._now()
            _log.warning("predictions cannot be logged: %s", error)

    async def run(self) -> None:
        """Pack what earlier hosts left, and from time to time what is old enough. Until cancelled."""
        loop = asyncio.get_running_loop()
        while self._file is not None:
            await loop.run_in_executor(self._thread, self._tend)
            await asyncio.sleep(_FILE_S / 4)

    def _tend(self) -> None:
        assert self._file is not None
        if self._file.is_old:
            self._file.close()
        is_due = self._folder is not None and self._folder.is_dir() and self._now() - self._packed_s >= _PACK_S
        if is_due or self._file.has_company:
            self.pack()

    def pack(self) -> None:
        """Have all files that nobody writes to packed, unless that is going on. Blocks for a moment."""
        if self._folder is None or (self._packing is not None and self._packing.poll() is None):
            return
        self._packed_s = self._now()
        command = [sys.executable, "-m", "mlwright.serving.packing", str(self._folder)]
        # In the session of the host: Linux divides processors among sessions, and priorities count only within one.
        self._packing = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)

    async def close(self) -> None:
        """Write all that waits."""
        if self._file is None:
            return
        loop = asyncio.get_running_loop()
        if self._writing is not None:
            await self._writing
        heard, self._waiting = self._waiting, []
        await loop.run_in_executor(self._thread, self._write, heard)
        await loop.run_in_executor(self._thread, self._file.close)
        self._thread.shutdown()


class SpoolFile:
    """The file that entries are added to; made when there are any, and locked as long as it is open."""

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        self._folder = folder
        self._now = now
        self._descriptor = -1
        self._path: Path | None = None
        self._size = 0
        self._since_s = 0.0

    @property
    def is_old(self) -> bool:
        """Whether it is time to close it."""
        return self._descriptor >= 0 and self._now() - self._since_s >= _FILE_S

    @property
    def has_company(self) -> bool:
        """Whether there are files beside it, as hosts leave them that are gone."""
        return any(path != self._path for path in self._folder.glob(f"*{spool.SUFFIX}"))

    def append(self, frame: bytes) -> bool:
        """Add a frame; whether the file was closed after it. Raises OSError, and then has added nothing to it."""
        if self._descriptor < 0:
            self._open()
        written = os.write(self._descriptor, frame)
        if written < len(frame):  # the disk is full: half a frame would hide all that follow
            os.ftruncate(self._descriptor, self._size)
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            raise OSError("the disk takes no more")
        self._size += written
        return self._size >= _FILE_BYTES and self.close()

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if sum(each.stat().st_size for each in self._folder.glob(f"*{spool.SUFFIX}")) >= _MOST_SPOOLED:
            raise OSError("more is written than can be packed")
        if shutil.disk_usage(self._folder).free < _LEAST_FREE:
            raise OSError(f"less than {_LEAST_FREE >> 20} MiB are free on the disk")
        path = self._folder / f"{time.time_ns() // 1_000_000:013d}-{os.getpid()}-{os.urandom(3).hex()}{spool.SUFFIX}"
        new = path.with_suffix(spool.NEW)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, spool.MAGIC)
            new.rename(path)  # nobody may find it without its lock: he would take it for a dead host's
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor, self._path = descriptor, path
        self._size, self._since_s = len(spool.MAGIC), self._now()

    def close(self) -> bool:
        """Let it be packed; whether there was one."""
        if self._descriptor < 0:
            return False
        os.close(self._descriptor)
        self._descriptor, self._path = -1, None
        return True


def _size(data: bytes | list[object]) -> int:
    return len(data) if isinstance(data, bytes) else len(data) * _ELEMENT


def _entry(heard: _Heard) -> Entry:
    ids, served, revision = heard.ids, heard.served, heard.revision
    redact = served.logging.redact
    return Entry(
        ids.prediction.decode(),
        ids.request.decode(),
        ids.trace.trace.decode() if ids.trace is not None else "",
        served.name,
        revision.number,
        revision.model,
        revision.version,
        "" if served.entity in redact else heard.entity,
        int(ids.prediction[:12], 16),
        heard.latency_s * 1_000,
        heard.rows,
        spool.kept_outputs(heard.arrays),
        (spool.kept_inputs(heard.asked, redact) or None) if heard.asked is not None else None,
    )
