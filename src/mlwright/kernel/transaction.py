"""What a unit of work sees of the database: statements, the time, and the event log."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy.sql import ClauseElement

from mlwright.kernel.clock import Clock
from mlwright.kernel.events import Draft
from mlwright.kernel.ids import Ids
from mlwright.kernel.query import Query, compile_statement


class Cursor(Protocol):
    """The DB-API cursor, as far as it is used."""

    @property
    def rowcount(self) -> int: ...
    def execute(self, sql: str, params: Any = ..., /) -> Any: ...
    def executemany(self, sql: str, rows: Any, /) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def fetchone(self) -> Any: ...


class TakesTimeError(Exception):
    """Work that was said to be brief is not: it will be run again where it may take its time."""


class WriteFirstError(Exception):
    """A read needs something written: it will be run again after that, on a new snapshot.

    Attributes:
        work: what is to be written.
        names: what `Tx.settled` holds then.
    """

    def __init__(self, work: "Callable[[Tx], None]", names: Collection[Hashable]) -> None:
        super().__init__(names)
        self.work = work
        self.names = names


class Tx:
    """An open transaction. Not to be kept beyond the function it was given to, nor used from another thread.

    Attributes:
        dialect: "sqlite" or "postgresql".
        clock, ids: time and identifiers for what is written.
        drafts: events drafted so far; they are appended when the transaction commits.
        topics: names of what changed, published to `Changes` after the commit.
        hurried: the event loop waits for this work.
        settled: in a read, names of what was written first on its behalf; None in a write.
    """

    __slots__ = ("_cursor", "clock", "dialect", "drafts", "hurried", "ids", "settled", "topics")

    def __init__(
        self,
        cursor: Cursor,
        dialect: str,
        clock: Clock,
        ids: Ids,
        *,
        hurried: bool = False,
        settled: frozenset[Hashable] | None = None,
    ) -> None:
        self._cursor = cursor
        self.dialect = dialect
        self.clock = clock
        self.ids = ids
        self.drafts: list[Draft] = []
        self.topics: set[str] = set()
        self.hurried = hurried
        self.settled = settled

    def take_time(self) -> None:
        """What follows is not brief with these data. Raises TakesTimeError when the event loop waits for this work."""
        if self.hurried:
            raise TakesTimeError

    def first(self, work: "Callable[[Tx], None]", names: Collection[Hashable]) -> None:
        """Have `work` done before this goes on: in a write here and now, in a read by running it again afterwards.

        Args:
            work: what is to be done.
            names: what `settled` holds afterwards. A caller that finds them there must not ask again: the read has
                seen all that was there when it was begun, and would never end while others go on writing.

        Raises TakesTimeError, WriteFirstError.
        """
        if self.settled is not None:
            raise WriteFirstError(work, names)
        self.take_time()
        work(self)

    def all(self, query: Query, params: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows."""
        self._cursor.execute(*query.bind(self.dialect, params))
        return self._cursor.fetchall()

    def one(self, query: Query, params: Mapping[str, Any] | None = None) -> tuple[Any, ...] | None:
        """The first row, or None."""
        self._cursor.execute(*query.bind(self.dialect, params))
        row: tuple[Any, ...] | None = self._cursor.fetchone()
        return row

    def run(self, query: Query, params: Mapping[str, Any] | None = None) -> int:
        """Execute a change. Returns the number of rows it met."""
        self._cursor.execute(*query.bind(self.dialect, params))
        return self._cursor.rowcount

    def many(self, query: Query, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute a change once per row of values."""
        if rows:
            text, own = query.bind(self.dialect, None)
            self._cursor.executemany(text, [{**own, **row} for row in rows] if own else rows)

    def select(self, statement: ClauseElement) -> list[tuple[Any, ...]]:
        """Compile and run a statement that is made for this one call."""
        text, values = compile_statement(statement, self.dialect)
        self._cursor.execute(text, values)
        return self._cursor.fetchall()

    def change(self, statement: ClauseElement) -> int:
        """Compile and run a change that is made for this one call. Returns the number of rows it met."""
        text, values = compile_statement(statement, self.dialect)
        self._cursor.execute(text, values)
        return self._cursor.rowcount

    def command(self, sql: str) -> None:
        """Run a literal command of the engine, such as SAVEPOINT."""
        self._cursor.execute(sql)

    def emit(self, draft: Draft) -> None:
        """Append an event to the log when this transaction commits."""
        self.drafts.append(draft)

    def now_ms(self) -> int:
        return self.clock.now_ms()
