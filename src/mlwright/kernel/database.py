"""The unit of work: `write` with group commit, `read` on snapshots.

One writer thread collects whatever callers have queued, runs each in a savepoint of one transaction, appends their
events, commits once (a real fsync), and only then answers them all. What raised is rolled back alone. An answered
write is therefore durable, and an unanswered one either happened whole or not at all.
"""

import asyncio
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from mlwright.kernel import events
from mlwright.kernel.changes import EVENTS, Changes
from mlwright.kernel.clock import Clock, SystemClock
from mlwright.kernel.engine import Connection, Engine
from mlwright.kernel.errors import Internal, MlwrightError, Unavailable
from mlwright.kernel.ids import Ids, RandomIds
from mlwright.kernel.transaction import Tx

T = TypeVar("T")
_log = logging.getLogger(__name__)

#: Most units of work in one commit: bounds what the last caller of a batch waits for.
_BATCH = 256
#: Most callers waiting: beyond it the server says "try again" instead of piling up memory.
_WAITING = 10_000
_READERS = 4
#: How long the writer tries to reach a database that went away before it tells its callers.
_RECONNECT_S = 10.0


class _Job:
    """One caller's unit of work and where its answer goes."""

    __slots__ = ("answer", "error", "loop", "result", "work")

    def __init__(self, work: Callable[[Tx], Any], answer: Any, loop: asyncio.AbstractEventLoop | None) -> None:
        self.work = work
        self.answer = answer
        self.loop = loop
        self.result: Any = None
        self.error: Exception | None = None

    def settle(self) -> None:
        if self.answer.done():
            return
        if self.error is None:
            self.answer.set_result(self.result)
        else:
            self.answer.set_exception(self.error)


def _settle(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        job.settle()


def _succeeds(action: Callable[[], object]) -> bool:
    try:
        action()
    except Exception:  # a broken connection may refuse even to close; a new one is made either way
        _log.debug("leaving a broken connection failed", exc_info=True)
        return False
    return True


class Database:
    """A database with one writer thread and a few readers.

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
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._local = threading.local()
        self._reader_connections: list[Connection] = []
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="mlwright-read")
        self._writer_connection: Connection | None = engine.connect(writable=True)
        self._closed = False
        self._stopped = False
        self._writer = threading.Thread(target=self._write_loop, name="mlwright-write", daemon=True)
        self._writer.start()

    # --- callers -------------------------------------------------------------------------------------------

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a transaction; returns its result once that is durable.

        `work` must depend on nothing but the transaction: it may be run again when the connection was lost.
        Raises what `work` raised, StorageFull or Unavailable.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._submit(_Job(work, answer, loop))
        return await answer

    def write_now(self, work: Callable[[Tx], T]) -> T:
        """`write` for callers without an event loop; blocks."""
        answer: Future[T] = Future()
        self._submit(_Job(work, answer, None))
        return answer.result()

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` on a snapshot of the database, in a reader thread."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, work)

    def read_now(self, work: Callable[[Tx], T]) -> T:
        """`read` in the calling thread; blocks."""
        for attempt in itertools.count():
            try:
                return self._read_once(work)
            except MlwrightError:
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

    def close(self) -> None:
        """Finish the queued writes and close all connections."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._writer.join()
        self._readers.shutdown(wait=True)
        for connection in self._reader_connections:
            connection.close()

    # --- reading -------------------------------------------------------------------------------------------

    def _read_once(self, work: Callable[[Tx], T]) -> T:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self.engine.connect(writable=False)
            self._local.connection = connection
            self._reader_connections.append(connection)
        cursor = connection.cursor()
        tx = Tx(cursor, self.engine.dialect, self.clock, self.ids)
        for command in self.engine.begin(writable=False):
            cursor.execute(command)
        try:
            return work(tx)
        finally:
            cursor.execute("ROLLBACK")

    # --- writing -------------------------------------------------------------------------------------------

    def _submit(self, job: _Job) -> None:
        if self._closed:
            raise Unavailable("the server is stopping")
        if self._queue.qsize() >= _WAITING:
            raise Unavailable("too many writes are waiting", hint="slow down, or log in batches")
        self._queue.put(job)
        if self._stopped:
            self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        """Answer what was queued while the writer went: nobody else will."""
        waiting: list[_Job] = []
        while True:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                job.error = Unavailable("the server is stopping")
                waiting.append(job)
        self._answer(waiting)

    def _write_loop(self) -> None:
        stopping = False
        while not stopping:
            job = self._queue.get()
            if job is None:
                break
            batch = [job]
            while len(batch) < _BATCH:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    stopping = True
                    break
                batch.append(following)
            self._commit(batch)
            self._answer(batch)
        self._stopped = True
        self._refuse_waiting()
        if self._writer_connection is not None:
            self._writer_connection.close()

    def _commit(self, batch: list[_Job]) -> None:
        deadline = time.monotonic() + _RECONNECT_S
        while True:
            committing = [False]
            try:
                self._transact(batch, committing)
            except Exception as error:  # the boundary of the writer thread: every caller must get an answer
                if not self._recover(batch, error, retry=not committing[0] and time.monotonic() < deadline):
                    return
            else:
                return

    def _transact(self, batch: list[_Job], committing: list[bool]) -> None:
        if self._writer_connection is None:
            self._writer_connection = self.engine.connect(writable=True)
        cursor = self._writer_connection.cursor()
        for command in self.engine.begin(writable=True):
            cursor.execute(command)
        drafts: list[events.Draft] = []
        topics: set[str] = set()
        for job in batch:
            tx = Tx(cursor, self.engine.dialect, self.clock, self.ids)
            self._run_one(tx, job)
            if job.error is None:
                drafts += tx.drafts
                topics |= tx.topics
        if drafts:
            events.append(Tx(cursor, self.engine.dialect, self.clock, self.ids), drafts, self.clock.now_ms())
            topics.add(EVENTS)
        committing[0] = True
        cursor.execute("COMMIT")
        if topics:
            self.changes.publish(topics)

    def _run_one(self, tx: Tx, job: _Job) -> None:
        job.error = None
        tx.command("SAVEPOINT job")
        try:
            job.result = job.work(tx)
        except MlwrightError as error:
            job.error = error
        except Exception as error:  # one caller's defect must not take its neighbours along
            known = self.engine.explain(error)
            if self.engine.is_lost(error) or (known is not None and known.status in {503, 507}):
                raise
            if known is None:
                _log.exception("a unit of work failed")
                known = Internal("an internal error occurred; it has been logged")
            job.error = known
        if job.error is not None:
            tx.command("ROLLBACK TO SAVEPOINT job")
        tx.command("RELEASE SAVEPOINT job")

    def _recover(self, batch: list[_Job], error: Exception, *, retry: bool) -> bool:
        """After a failed transaction: clean up, and say whether to run the batch again."""
        lost = self.engine.is_lost(error) or (isinstance(error, Unavailable) and self._writer_connection is None)
        self._reset_writer(lost)
        if lost and retry:
            time.sleep(0.1)
            return True
        known = error if isinstance(error, MlwrightError) else self.engine.explain(error)
        if known is None:
            _log.error("a commit failed", exc_info=error)
            known = Internal("an internal error occurred; it has been logged")
        for job in batch:
            job.error = known
        return False

    def _reset_writer(self, lost: bool) -> None:
        connection = self._writer_connection
        if connection is None:
            return
        if not lost and _succeeds(lambda: connection.cursor().execute("ROLLBACK")):
            return
        _succeeds(connection.close)
        self._writer_connection = None

    def _answer(self, batch: list[_Job]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop | None, list[_Job]] = {}
        for job in batch:
            by_loop.setdefault(job.loop, []).append(job)
        for loop, jobs in by_loop.items():
            if loop is None:
                _settle(jobs)
            elif not loop.is_closed():
                loop.call_soon_threadsafe(_settle, jobs)
