"""Group commit: many callers' units of work in one transaction, one fsync for all of them.

A `Writer` owns the one writable connection and runs batches. A `Lane` collects what the callers on one event loop ask
for while a batch is under way, and then starts the next. Batches run in a thread; but switching threads costs several
times what a short unit of work costs, so that a batch of nothing but short ones runs on the event loop, and only its
commit, which waits for the disk, goes to the thread.
"""

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from mlwright.kernel import events
from mlwright.kernel.changes import EVENTS, Changes
from mlwright.kernel.clock import Clock
from mlwright.kernel.engine import Connection, Engine
from mlwright.kernel.errors import Internal, MlwrightError, Unavailable
from mlwright.kernel.ids import Ids
from mlwright.kernel.transaction import Cursor, Tx

T = TypeVar("T")
_log = logging.getLogger(__name__)

#: Most units of work in one commit: bounds what the last caller of a batch waits for.
_BATCH = 256
#: Most short ones in a row on the event loop, which answers nobody meanwhile.
_BRIEF_BATCH = 64
#: Most callers waiting: beyond it the server says "try again" instead of piling up memory.
_WAITING = 10_000
#: How long the writer tries to reach a database that went away before it tells its callers.
_RECONNECT_S = 10.0


class Job:
    """One caller's unit of work, and what became of it.

    Args:
        work: what is to be done.
        brief: it takes far less than a millisecond, or says so (`Tx.take_time`).
    """

    __slots__ = ("brief", "error", "result", "work")

    def __init__(self, work: Callable[[Tx], Any], *, brief: bool = False) -> None:
        self.work = work
        self.brief = brief
        self.result: Any = None
        self.error: Exception | None = None


class Writer:
    """Runs batches of jobs in one transaction each; a job that raises is rolled back alone.

    Invariant: at most one transaction is open, and whoever opened it holds `_turn` until it has ended.
    """

    def __init__(self, engine: Engine, clock: Clock, ids: Ids, changes: Changes) -> None:
        self._engine = engine
        self._clock = clock
        self._ids = ids
        self._changes = changes
        self._connection: Connection | None = engine.connect(writable=True)
        self._turn = threading.Lock()
        self._topics: set[str] = set()
        self._closed = False

    def run(self, batch: list[Job]) -> None:
        """Run and commit the jobs; each has its result or error afterwards. Blocks."""
        with self._turn:
            deadline = time.monotonic() + _RECONNECT_S
            while not self._attempt(batch, deadline):
                time.sleep(0.1)

    def begin(self, batch: list[Job]) -> bool:
        """Run the jobs without waiting for anything; `finish` must follow.

        Returns False when that is not possible now, or a job raised: without savepoints, which cost as much as a short
        job, none is rolled back alone. `run` can still do it.
        """
        if not self._engine.embedded or not self._turn.acquire(blocking=False):
            return False
        try:
            self._execute(batch, hurried=True)
        except Exception:  # `run` does it again, and tells errors apart
            self._reset(lost=False)
            self._turn.release()
            return False
        return True

    def finish(self, batch: list[Job]) -> None:
        """Commit what `begin` has run; each job has its result or error afterwards. Blocks."""
        try:
            self._commit()
        except Exception as error:  # the boundary of the writer: every caller must get an answer
            self._fail(batch, error)
        finally:
            self._turn.release()

    def dry_run(self, work: Callable[[Tx], T]) -> T:
        """The result of `work`, run as a write of which nothing stays. Blocks."""
        with self._turn:
            try:
                return work(self._tx(self._begin()))
            except MlwrightError:
                raise
            except Exception as error:  # drivers raise their own kinds; the engine tells them apart
                known = self._engine.explain(error)
                if known is None:
                    raise
                raise known from error
            finally:
                self._reset(lost=False)

    def close(self) -> None:
        """Wait for the transaction under way and close the connection. Later jobs are refused."""
        with self._turn:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _attempt(self, batch: list[Job], deadline: float) -> bool:
        """Run and commit the jobs once. Returns False when the connection was lost and they are to be run again."""
        committing = False
        try:
            self._execute(batch)
            committing = True
            self._commit()
        except Exception as error:  # the boundary of the writer: every caller must get an answer
            if self._lost(error) and not committing and time.monotonic() < deadline:
                self._reset(lost=True)
                return False
            self._fail(batch, error)
        return True

    def _execute(self, batch: list[Job], *, hurried: bool = False) -> None:
        cursor = self._begin(patient=not hurried)
        drafts: list[events.Draft] = []
        self._topics = set()
        for job in batch:
            tx = self._tx(cursor, hurried=hurried)
            if hurried:
                job.result = job.work(tx)
            else:
                self._run_one(tx, job)
            if job.error is None:
                drafts += tx.drafts
                self._topics |= tx.topics
        if drafts:
            events.append(self._tx(cursor), drafts, self._clock.now_ms())
            self._topics.add(EVENTS)
        if self._topics:
            self._engine.announce(cursor, self._topics)

    def _begin(self, *, patient: bool = True) -> Cursor:
        """Open a transaction. Raises what the engine raises, and Unavailable once closed."""
        if self._closed:
            raise Unavailable("the server is stopping")
        if self._connection is None:
            self._connection = self._engine.connect(writable=True)
        cursor = self._connection.cursor()
        for command in self._engine.begin(writable=True, patient=patient):
            cursor.execute(command)
        return cursor

    def _tx(self, cursor: Cursor, *, hurried: bool = False) -> Tx:
        return Tx(cursor, self._engine.dialect, self._clock, self._ids, hurried=hurried)

    def _run_one(self, tx: Tx, job: Job) -> None:
        job.error = None
        tx.command("SAVEPOINT job")
        try:
            job.result = job.work(tx)
        except MlwrightError as error:
            job.error = error
        except Exception as error:  # one caller's defect must not take its neighbours along
            known = self._engine.explain(error)
            if self._engine.is_lost(error) or (known is not None and known.status in {503, 507}):
                raise
            if known is None:
                _log.exception("a unit of work failed")
                known = Internal("an internal error occurred; it has been logged")
            job.error = known
        if job.error is not None:
            tx.command("ROLLBACK TO SAVEPOINT job")
        tx.command("RELEASE SAVEPOINT job")

    def _commit(self) -> None:
        assert self._connection is not None
        self._connection.cursor().execute("COMMIT")
        if self._topics:
            self._changes.publish(self._topics)

    def _lost(self, error: Exception) -> bool:
        if self._closed:
            return False
        return self._engine.is_lost(error) or (isinstance(error, Unavailable) and self._connection is None)

    def _fail(self, batch: list[Job], error: Exception) -> None:
        """The transaction failed as a whole: clean up, and give every job the reason."""
        self._reset(self._lost(error))
        known = error if isinstance(error, MlwrightError) else self._engine.explain(error)
        if known is None:
            _log.error("a commit failed", exc_info=error)
            known = Internal("an internal error occurred; it has been logged")
        for job in batch:
            job.error = known

    def _reset(self, lost: bool) -> None:
        connection = self._connection
        if connection is None or (not lost and _succeeds(lambda: connection.cursor().execute("ROLLBACK"))):
            return
        _succeeds(connection.close)
        self._connection = None


def _succeeds(action: Callable[[], object]) -> bool:
    try:
        action()
    except Exception:  # a broken connection may refuse even to close; a new one is made either way
        _log.debug("leaving a broken connection failed", exc_info=True)
        return False
    return True


class Thread:
    """A thread that does what is submitted, in order.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._actions: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._open = True
        self._changing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, action: Callable[[], None]) -> None:
        """Run `action`, which must not raise, after all earlier ones; here and now once the thread has ended."""
        with self._changing:
            if self._open:
                self._actions.put(action)
                return
        action()

    def close(self) -> None:
        """Run what was submitted, then end."""
        with self._changing:
            self._open = False
            self._actions.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (action := self._actions.get()) is not None:
            action()


class Threads:
    """Where batches are waited for. What has begun never queues behind a batch that waits for its own turn."""

    def __init__(self) -> None:
        self.run = Thread("mlwright-write")
        self.finish = Thread("mlwright-commit")

    def close(self) -> None:
        """Do what was submitted, then end."""
        self.run.close()
        self.finish.close()


class Lane:
    """The writes of the callers on one event loop. Everything but the batch itself happens on that loop.

    Args:
        loop: the event loop.
        writer, threads: run the batches.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, writer: Writer, threads: Threads) -> None:
        self.loop = loop
        self._writer = writer
        self._threads = threads
        self._waiting: deque[tuple[Job, asyncio.Future[Any]]] = deque()
        self._under_way = False

    async def submit(self, job: Job) -> Any:
        """The job's result, once that is durable. Raises what the job raised, StorageFull or Unavailable."""
        if len(self._waiting) >= _WAITING:
            raise Unavailable("too many writes are waiting", hint="slow down, or log in batches")
        answer: asyncio.Future[Any] = self.loop.create_future()
        self._waiting.append((job, answer))
        if not self._under_way:
            self._under_way = True
            self.loop.call_soon(self._start)
        return await answer

    def _start(self) -> None:
        brief = all(job.brief for job, _ in self._waiting)
        size = min(len(self._waiting), _BRIEF_BATCH if brief else _BATCH)
        pairs = [self._waiting.popleft() for _ in range(size)]
        batch = [job for job, _ in pairs]
        begun = brief and self._writer.begin(batch)
        finish = self._writer.finish if begun else self._writer.run

        def action() -> None:
            finish(batch)
            if not self.loop.is_closed():
                self.loop.call_soon_threadsafe(self._answer, pairs)

        (self._threads.finish if begun else self._threads.run).submit(action)

    def _answer(self, pairs: list[tuple[Job, asyncio.Future[Any]]]) -> None:
        for job, answer in pairs:
            if answer.done():  # the caller went away
                continue
            if job.error is None:
                answer.set_result(job.result)
            else:
                answer.set_exception(job.error)
        if self._waiting:
            self.loop.call_soon(self._start)
        else:
            self._under_way = False
