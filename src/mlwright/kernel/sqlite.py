"""SQLite: the embedded database. WAL, one writer, snapshot readers, a real fsync at each commit."""

import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, cast

from mlwright.kernel.changes import Changes
from mlwright.kernel.engine import Connection
from mlwright.kernel.errors import Internal, Invalid, MlwrightError, StorageFull, Unavailable
from mlwright.kernel.transaction import Cursor

_BUSY_TIMEOUT_MS = 5_000
#: A writable connection waits for no other writer but here: short writes, which must not wait, are the many.
_BEGIN_PATIENTLY = (f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}", "BEGIN IMMEDIATE", "PRAGMA busy_timeout=0")
_CACHE_KIB = 8_192
#: The write-ahead log is moved into the database when it has so many pages, and then used from its beginning again.
_LOG_PAGES = 1_000
_LOG_BYTES = 32 + _LOG_PAGES * (24 + 4_096)


class SqliteEngine:
    """One database file.

    Args:
        url: "sqlite:///" and the path (absolute paths have four slashes).
    """

    dialect = "sqlite"
    embedded = True

    def __init__(self, url: str) -> None:
        self.path = Path(url.removeprefix("sqlite:///"))
        self.server = "only"

    def servers(self) -> Collection[str]:
        return (self.server,)

    def connect(self, *, writable: bool) -> Connection:
        try:
            if writable:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
                timeout=_BUSY_TIMEOUT_MS / 1000,
            )
            for name, value in self._pragmas(writable):
                connection.execute(f"PRAGMA {name}={value}")
        except (sqlite3.Error, OSError) as error:
            raise self.explain(error) or Internal(str(error)) from error
        return cast("Connection", connection)

    def _pragmas(self, writable: bool) -> list[tuple[str, object]]:
        common: list[tuple[str, object]] = [("cache_size", -_CACHE_KIB), ("temp_store", "MEMORY")]
        if not writable:
            return [*common, ("query_only", 1)]
        return [
            *common,
            ("journal_mode", "WAL"),
            ("synchronous", "FULL"),
            ("wal_autocheckpoint", _LOG_PAGES),
            ("busy_timeout", 0),
        ]

    def begin(self, *, writable: bool, patient: bool = True) -> Sequence[str]:
        if not writable:
            return ("BEGIN",)
        return _BEGIN_PATIENTLY if patient else ("BEGIN IMMEDIATE",)

    def explain(self, error: Exception) -> MlwrightError | None:
        if isinstance(error, PermissionError):
            return Unavailable(f"no permission for {error.filename}", hint="check the owner of the data directory")
        if isinstance(error, (UnicodeEncodeError, OverflowError)):
            return Invalid(f"a value cannot be stored: {error}")
        if not isinstance(error, (sqlite3.Error, OSError)):
            return None
        text = str(error)
        if "full" in text or ("disk I/O error" in text and self._is_full()) or "No space left" in text:
            return StorageFull(f"the disk with {self.path} is full", hint="free some space; no restart is needed")
        if "readonly" in text or "Read-only" in text:
            return Unavailable(f"{self.path} cannot be written", hint="check the permissions of the data directory")
        if "malformed" in text or "not a database" in text:
            return Unavailable(f"{self.path} is damaged", hint="run: mlwright doctor")
        if isinstance(error, sqlite3.OperationalError):
            return Unavailable(f"database: {text}", hint="run: mlwright doctor")
        return None

    def _free_bytes(self) -> int:
        found = os.statvfs(self.path.parent)
        return found.f_bavail * found.f_frsize

    def _is_full(self) -> bool:
        return self._free_bytes() < 1 << 20

    def is_lost(self, error: Exception) -> bool:
        return False

    def announce(self, cursor: Cursor, topics: Collection[str]) -> None:
        """One server has a data directory for itself: there is nobody to tell."""

    def listen(self, changes: Changes) -> Callable[[], None]:
        return lambda: None

    def reserve_log(self) -> None:
        """Give the write-ahead log its full length at once.

        An fsync of a file that grows also has to write the file system's own journal; of one that keeps its length it
        does not, which makes commits half as long. Zeros are no valid frames, so that SQLite takes the log as empty.
        """
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            log = self.path.with_name(f"{self.path.name}-wal")
            if busy or log.stat().st_size or self._free_bytes() < 10 * _LOG_BYTES:
                return
            with log.open("r+b") as file:
                file.write(bytes(_LOG_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except sqlite3.Error as error:
            raise self.explain(error) or Internal(str(error)) from error
        finally:
            connection.close()

    def statistics(self) -> dict[str, Any]:
        files = [self.path, self.path.with_name(self.path.name + "-wal")]
        size = sum(file.stat().st_size for file in files if file.exists())
        return {"location": str(self.path), "bytes": size, "version": f"SQLite {sqlite3.sqlite_version}"}
