"""Reading rows of an MLflow database, SQLite or PostgreSQL, whatever version made it."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from mlwright.kernel.errors import Invalid, Unavailable

_FETCH = 20_000


class Rows(Protocol):
    """A database for reading. SQL has a question mark for each value."""

    def columns(self, table: str) -> frozenset[str]:
        """The columns of a table; none when there is no such table."""
        ...

    def each(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, as they come."""
        ...

    def close(self) -> None: ...


def open_rows(address: str) -> Rows:
    """A SQLite file, or a PostgreSQL URL. Raises Unavailable, Invalid when there is no MLflow data in it."""
    rows: Rows = PostgresRows(address) if "://" in address else SqliteRows(Path(address))
    if not {"experiment_id", "name"} <= rows.columns("experiments") or "run_uuid" not in rows.columns("runs"):
        rows.close()
        raise Invalid("the database has no tables of MLflow", path="SOURCE", hint="is it the right one?")
    return rows


class SqliteRows:
    """A SQLite file, opened so that nothing can be changed."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)

    def columns(self, table: str) -> frozenset[str]:
        return frozenset(row[0] for row in self.each("SELECT name FROM pragma_table_info(?)", (table,)))

    def each(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            cursor = self._connection.execute(sql, tuple(values))
            while rows := cursor.fetchmany(_FETCH):
                yield from rows
        except sqlite3.Error as error:
            raise Unavailable(f"the MLflow database cannot be read: {error}", path="SOURCE") from error

    def close(self) -> None:
        self._connection.close()


class PostgresRows:
    """A PostgreSQL database; read in one snapshot."""

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise Unavailable(
                "PostgreSQL needs another package", path="SOURCE", hint="pip install 'mlwright[postgres]'"
            ) from error
        self._errors = psycopg.Error
        self._cursors = 0
        scheme, _, rest = url.partition("://")
        try:
            self._connection = psycopg.connect(f"{scheme.partition('+')[0]}://{rest}")
        except psycopg.Error as error:
            raise Unavailable(f"the MLflow database cannot be reached: {error}", path="SOURCE") from error
        self._connection.read_only = True
        self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

    def columns(self, table: str) -> frozenset[str]:
        sql = (
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(?)::oid AND attnum > 0 AND NOT attisdropped"
        )
        return frozenset(row[0] for row in self.each(sql, (table,)))

    def each(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        text = sql.replace("%", "%%").replace("?", "%s").encode()
        self._cursors += 1  # a named cursor stays on the server: rows come in pieces
        try:
            with self._connection.cursor(name=f"rows{self._cursors}") as cursor:
                cursor.execute(text, tuple(values))
                while rows := cursor.fetchmany(_FETCH):
                    yield from rows
        except self._errors as error:
            raise Unavailable(f"the MLflow database cannot be read: {error}", path="SOURCE") from error

    def close(self) -> None:
        self._connection.close()
