"""The port to a database engine. SQLite is built in; others are found by name, late."""

from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from typing import Any, Protocol

from mlwright.kernel.changes import Changes
from mlwright.kernel.errors import Invalid, MlwrightError
from mlwright.kernel.transaction import Cursor


class Connection(Protocol):
    """The DB-API connection, as far as it is used."""

    def cursor(self) -> Cursor: ...
    def close(self) -> None: ...


class Engine(Protocol):
    """Opens connections and controls their transactions."""

    @property
    def dialect(self) -> str:
        """Name of the SQL dialect: "sqlite" or "postgresql"."""
        ...

    @property
    def embedded(self) -> bool:
        """Whether the database lies in this process, so that a short statement takes microseconds."""
        ...

    @property
    def server(self) -> str:
        """Names this process among the servers on the database; no "-" in it."""
        ...

    def servers(self) -> Collection[str]:
        """Names of those that listen now: one that died is gone with its connection. Blocks."""
        ...

    def connect(self, *, writable: bool) -> Connection:
        """Open a connection in autocommit mode, on which `begin` starts transactions."""
        ...

    def begin(self, *, writable: bool, patient: bool = True) -> Sequence[str]:
        """The commands that start a transaction. A writing one is the only one until it ends, on every server.

        Unless `patient`, they fail at once when somebody else writes; then the connection is of no use any more.
        """
        ...

    def explain(self, error: Exception) -> MlwrightError | None:
        """The driver's error as one of ours; None when it is not the driver's."""
        ...

    def is_lost(self, error: Exception) -> bool:
        """Whether the error means that the connection is gone and a new one may work."""
        ...

    def announce(self, cursor: Cursor, topics: Collection[str]) -> None:
        """Let the open transaction tell the other servers on this database what it changes, once it is committed."""
        ...

    def listen(self, changes: Changes) -> Callable[[], None]:
        """Publish to `changes`, from a thread, what other servers announce. Returns what ends it; blocks for that."""
        ...

    def reserve_log(self) -> None:
        """Prepare for many small commits: when a server has opened the database, before it serves. May do nothing."""
        ...

    def statistics(self) -> dict[str, Any]:
        """Facts for `doctor`: location, size in bytes, version."""
        ...


#: scheme of the database URL -> "module:class"
ENGINES = {
    "sqlite": "mlwright.kernel.sqlite:SqliteEngine",
    "postgresql": "mlwright.backends.postgres:PostgresEngine",
    "postgres": "mlwright.backends.postgres:PostgresEngine",
}


def open_engine(url: str) -> Engine:
    """The engine for `sqlite:///path` or `postgresql://…`.

    Raises Invalid for any other scheme, or when the driver is not installed.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    target = ENGINES.get(scheme)
    if target is None:
        raise Invalid(
            f"unknown database {scheme!r}", path="database", hint="use sqlite:///FILE or postgresql://USER@HOST/NAME"
        )
    module, name = target.split(":")
    try:
        engine: Engine = getattr(import_module(module), name)(url)
    except ModuleNotFoundError as error:
        raise Invalid(
            f"the driver for {scheme} is not installed ({error.name})",
            path="database",
            hint='pip install "mlwright[postgres]"',
        ) from error
    return engine
