"""Bringing a database to the schema of this release.

A new database gets all tables at once and is stamped with the newest revision; an older one is upgraded by Alembic,
which is imported only then because that takes most of a second.
"""

from collections.abc import Callable

from sqlalchemy.schema import CreateIndex, CreateTable

from mlwright.kernel.columns import METADATA
from mlwright.kernel.engine import Engine
from mlwright.kernel.errors import Conflict
from mlwright.kernel.query import compile_statement
from mlwright.kernel.transaction import Cursor

_VERSION_TABLE = "alembic_version"


def prepare(engine: Engine, newest: str, known: frozenset[str], upgrade: Callable[[Engine], None]) -> None:
    """Create or upgrade the tables.

    Args:
        engine: the database.
        newest: revision of this release.
        known: all revisions this release knows.
        upgrade: runs Alembic up to the newest revision.

    Raises Conflict when the database was made by a newer release.
    """
    found = _revision(engine)
    if found == newest:
        return
    if found is None:
        _create(engine, newest)
    elif found not in known:
        raise Conflict(
            f"the database has schema {found}, which this release does not know",
            hint="it was made by a newer mlwright: upgrade with pip install --upgrade mlwright",
        )
    else:
        upgrade(engine)


def _revision(engine: Engine) -> str | None:
    connection = engine.connect(writable=True)
    try:
        cursor = connection.cursor()
        for command in engine.begin(writable=True):  # waits while another server makes the tables
            cursor.execute(command)
        found = _recorded(cursor, engine.dialect)
        cursor.execute("ROLLBACK")
        return found
    finally:
        connection.close()


def _recorded(cursor: Cursor, dialect: str) -> str | None:
    catalogue = (
        f"SELECT 1 FROM sqlite_master WHERE name = '{_VERSION_TABLE}'"  # noqa: S608 - a constant
        if dialect == "sqlite"
        else f"SELECT 1 WHERE to_regclass('{_VERSION_TABLE}') IS NOT NULL"
    )
    cursor.execute(catalogue)
    if cursor.fetchone() is None:
        return None
    cursor.execute(f"SELECT version_num FROM {_VERSION_TABLE}")  # noqa: S608 - a constant
    row = cursor.fetchone()
    return str(row[0]) if row else None


def _create(engine: Engine, newest: str) -> None:
    connection = engine.connect(writable=True)
    try:
        cursor = connection.cursor()
        for command in engine.begin(writable=True):
            cursor.execute(command)
        if _recorded(cursor, engine.dialect) is not None:  # another server was faster
            cursor.execute("ROLLBACK")
            return
        for table in METADATA.sorted_tables:
            cursor.execute(compile_statement(CreateTable(table), engine.dialect).text)
            for index in sorted(table.indexes, key=lambda each: str(each.name)):
                cursor.execute(compile_statement(CreateIndex(index), engine.dialect).text)
        cursor.execute(f"CREATE TABLE {_VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        cursor.execute(f"INSERT INTO {_VERSION_TABLE} VALUES ('{newest}')")  # noqa: S608 - a constant of this release
        cursor.execute("COMMIT")
    finally:
        connection.close()
