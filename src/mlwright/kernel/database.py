"""The unit of work: `write` with group commit (see writer.py), `read` on snapshots.

An answered write is durable, and an unanswered one either happened whole or not at all.
"""

import asyncio
import itertools
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mlwright.kernel.changes import Changes
from mlwright.kernel.clock import Clock, SystemClock
from mlwright.kernel.engine import Connection, Engine
from mlwright.kernel.errors import MlwrightError, StorageFull, Unavailable
from mlwright.kernel.ids import Ids, RandomIds
from mlwright.kernel.transaction import Tx, WriteFirstError
from mlwright.kernel.writer import Job, Lane, Threads, Writer

T = TypeVar("T")

_READERS = 4


class Database:
    """A database with one writer and a few readers.

    Args:
        engine: where the data lies.
        clock, ids: time and identifiers for what is written.
        changes: told about each commit.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock | None = None,
        ids: Ids | None = None,
        changes: Changes | None = None,
    ) -> None:
        self.engine = engine
        self.clock = clock or SystemClock()
        self.ids = ids or RandomIds()
        self.changes = changes or Changes()
        self._local = threading.local()
        self._reader_connections: list[Connection] = []
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="mlwright-read")
        self._writer = Writer(engine, self.clock, self.ids, self.changes)
        self._threads = Threads()
        self._lanes: list[Lane] = []
        self._adding_lane = threading.Lock()
        self._end_listening: Callable[[], None] | None = None
        self._closed = False

    # --- callers -------------------------------------------------------------------------------------------

    async def write(self, work: Callable[[Tx], T], *, brief: bool = False) -> T:
        """Run `work` in a transaction; returns its result once that is durable.

        Args:
            work: must depend on nothing but the transaction: it may be run again when the connection was lost.
            brief: it takes far less than a millisecond, or says so (`Tx.take_time`): it may run on the event loop.

        Raises what `work` raised, StorageFull or Unavailable.
        """
        if self._closed:
            raise Unavailable("the server is stopping")
        result: T = await self._lane(asyncio.get_running_loop()).submit(Job(work, brief=brief))
        return result

    def write_now(self, work: Callable[[Tx], T]) -> T:
        """`write` for callers without an event loop; blocks."""
        job = Job(work)
        self._writer.run([job])
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    async def read(self, work: Callable[[Tx], T], *, brief: bool = False) -> T:
        """Run `work` on a snapshot of the database, in a reader thread.

        Args:
            work: what is to be read.
            brief: it takes far less than a millisecond whatever the data: it may run on the event loop.
        """
        loop = asyncio.get_running_loop()
        settled: frozenset[Hashable] = frozenset()
        while True:
            try:
                if brief and self.engine.embedded:
                    return self._read(work, settled)
                return await loop.run_in_executor(self._readers, self._read, work, settled)
            except WriteFirstError as needed:
                try:
                    await self.write(needed.work)
                except StorageFull:  # reading goes on nevertheless
                    return await loop.run_in_executor(self._readers, self._writer.dry_run, work)
                settled = settled.union(needed.names)

    def read_now(self, work: Callable[[Tx], T]) -> T:
        """`read` in the calling thread; blocks."""
        settled: frozenset[Hashable] = frozenset()
        while True:
            try:
                return self._read(work, settled)
            except WriteFirstError as needed:
                try:
                    self.write_now(needed.work)
                except StorageFull:
                    return self._writer.dry_run(work)
                settled = settled.union(needed.names)

    def listen(self) -> None:
        """From now on, `changes` also tells what other servers on the same database commit."""
        if self._end_listening is None:
            self._end_listening = self.engine.listen(self.changes)

    def close(self) -> None:
        """Finish the writes under way and close all connections."""
        if self._closed:
            return
        self._closed = True
        if self._end_listening is not None:
            self._end_listening()
        self._threads.close()
        self._writer.close()
        self._readers.shutdown(wait=True)
        for connection in self._reader_connections:
            connection.close()

    def _lane(self, loop: asyncio.AbstractEventLoop) -> Lane:
        for lane in self._lanes:
            if lane.loop is loop:
                return lane
        lane = Lane(loop, self._writer, self._threads)
        with self._adding_lane:
            self._lanes = [lane, *(each for each in self._lanes if not each.loop.is_closed())]
        return lane

    # --- reading -------------------------------------------------------------------------------------------

    def _read(self, work: Callable[[Tx], T], settled: frozenset[Hashable]) -> T:
        for attempt in itertools.count():
            try:
                return self._read_once(work, settled)
            except (MlwrightError, WriteFirstError):
                raise
            except Exception as error:  # drivers raise their own kinds; the engine tells them apart
                if self.engine.is_lost(error):
                    self._local.connection = None
                    if attempt == 0:
                        continue
                known = self.engine.explain(error)
                if known is None:
                    raise
                raise known from error
        raise AssertionError  # unreachable: the loop returns or raises

    def _read_once(self, work: Callable[[Tx], T], settled: frozenset[Hashable]) -> T:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self.engine.connect(writable=False)
            self._local.connection = connection
            self._reader_connections.append(connection)
        cursor = connection.cursor()
        tx = Tx(cursor, self.engine.dialect, self.clock, self.ids, settled=settled)
        for command in self.engine.begin(writable=False):
            cursor.execute(command)
        try:
            return work(tx)
        finally:
            cursor.execute("ROLLBACK")
