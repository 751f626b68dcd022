"""PostgreSQL through psycopg 3: the database of a scaled-out installation.

Every writing transaction first takes one advisory lock, so that there is one writer at a time over all servers, as on
SQLite: the event chain stays linear and no two units of work can deadlock. Group commit keeps this fast.
"""

import secrets
from collections.abc import Callable, Collection, Sequence
from typing import Any, cast

import psycopg

from mlwright.backends.postgres_notices import Listener, announcements, present
from mlwright.kernel.changes import Changes
from mlwright.kernel.engine import Connection
from mlwright.kernel.errors import Invalid, MlwrightError, StorageFull, Unavailable
from mlwright.kernel.transaction import Cursor

#: Advisory lock of all mlwright writers of one database ("mlwright" read as a 64-bit number).
WRITER_LOCK = int.from_bytes(b"mlwright", "big")

#: Classes of SQLSTATE that end a connection: "connection exception", and "operator intervention" such as a restart.
_LOST_CLASSES = frozenset({"08", "57"})
_IDLE_TIMEOUT = "25P03"


class PostgresEngine:
    """One PostgreSQL database, named by a libpq URL."""

    dialect = "postgresql"
    embedded = False

    def __init__(self, url: str) -> None:
        scheme, separator, rest = url.partition("://")
        self._conninfo = f"postgresql{separator}{rest}" if scheme.startswith("postgres") else url
        self.server = secrets.token_hex(4)

    def servers(self) -> Collection[str]:
        connection = self.connect(writable=False)
        try:
            return present(connection.cursor())
        except psycopg.Error as error:
            raise self.explain(error) or error from error
        finally:
            connection.close()

    def connect(self, *, writable: bool) -> Connection:
        try:
            connection = psycopg.connect(self._conninfo, autocommit=True, connect_timeout=5)
        except psycopg.ProgrammingError as error:
            text = _first_line(error).replace(self._conninfo, "…")  # it may hold a password
            hint = "use postgresql://USER@HOST/NAME; a password belongs into PGPASSWORD or ~/.pgpass"
            raise Invalid(f"PostgreSQL: {text}", path="database", hint=hint) from None
        except psycopg.Error as error:
            raise Unavailable(f"PostgreSQL: {_first_line(error)}", hint="check the server and the URL") from error
        connection.prepare_threshold = 3
        return cast("Connection", connection)

    def begin(self, *, writable: bool, patient: bool = True) -> Sequence[str]:
        if writable:
            return ("BEGIN", f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")
        return ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",)

    def explain(self, error: Exception) -> MlwrightError | None:
        if isinstance(error, psycopg.errors.DiskFull):
            return StorageFull("the disk of PostgreSQL is full", hint="free some space; no restart is needed")
        if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            return Unavailable("PostgreSQL cannot be written: the server is read-only", hint="is it a standby?")
        if isinstance(error, (psycopg.DataError, UnicodeEncodeError)):
            return Invalid(f"a value cannot be stored: {_first_line(error)}")
        if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            return Unavailable(f"PostgreSQL: {_first_line(error)}", hint="try again; the server may be restarting")
        return None

    def is_lost(self, error: Exception) -> bool:
        if isinstance(error, psycopg.InterfaceError):
            return True
        if not isinstance(error, psycopg.OperationalError):
            return False
        state = error.sqlstate  # none when it was the connection itself that failed
        return state is None or state[:2] in _LOST_CLASSES or state == _IDLE_TIMEOUT

    def announce(self, cursor: Cursor, topics: Collection[str]) -> None:
        for statement, values in announcements(self.server, topics):
            cursor.execute(statement, values)

    def listen(self, changes: Changes) -> Callable[[], None]:
        return Listener(self._conninfo, self.server, changes).close

    def reserve_log(self) -> None:
        """PostgreSQL recycles its log files by itself."""

    def statistics(self) -> dict[str, Any]:
        connection = self.connect(writable=False)
        try:
            cursor = connection.cursor()
            cursor.execute(
                "SELECT current_database(), pg_database_size(current_database()), current_setting('server_version')"
            )
            row = cursor.fetchone()
        finally:
            connection.close()
        name, size, version = row or ("", 0, "")
        return {"location": name, "bytes": size, "version": f"PostgreSQL {version}"}


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
