"""For contract suites: an engine and a prepared database on SQLite and PostgreSQL, a folder and S3 for blobs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlwright.app import migrations
from mlwright.app.wiring import prepare
from mlwright.kernel.clock import ManualClock
from mlwright.kernel.columns import METADATA
from mlwright.kernel.database import Database
from mlwright.kernel.engine import Engine, open_engine
from mlwright.kernel.ids import SeededIds
from mlwright.kernel.transaction import Cursor
from mlwright.security import projects
from mlwright.tracking.service import experiments
from tests.components import PostgresCluster

BOTH = [pytest.param("sqlite", id="sqlite"), pytest.param("postgresql", id="postgresql", marks=pytest.mark.component)]
STORES = [pytest.param("directory", id="directory"), pytest.param("s3", id="s3", marks=pytest.mark.component)]
PROJECT = projects.kind(experiments.held_by)


@pytest.fixture(scope="session")
def shared_postgres(postgres_cluster: PostgresCluster) -> str:
    """One PostgreSQL database for many tests: making a new one for each would take most of their time."""
    postgres_cluster.run("createdb", "contract")
    return postgres_cluster.url("contract")


def emptied(engine: Engine, *, keep_tables: bool) -> Engine:
    """Remove all rows, or all tables."""
    connection = engine.connect(writable=True)
    cursor = connection.cursor()
    cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    names = {row[0] for row in cursor.fetchall()}
    if keep_tables and set(METADATA.tables) < names and _is_current(cursor):
        _remove_rows(cursor)
    else:
        cursor.execute("DROP SCHEMA public CASCADE")
        cursor.execute("CREATE SCHEMA public")
    connection.close()
    return engine


def _remove_rows(cursor: Cursor) -> None:
    """Truncate only what a test has filled: truncating an empty table makes new files for it and its indexes too."""
    counted = (f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {name})" for name in METADATA.tables)
    cursor.execute(" UNION ALL ".join(counted))
    if filled := [row[0] for row in cursor.fetchall()]:
        cursor.execute(f"TRUNCATE {', '.join(filled)}")
    cursor.execute(
        "SELECT setval(format('%I', sequencename), start_value, false) FROM pg_sequences WHERE last_value > 0"
    )


def _is_current(cursor: Cursor) -> bool:
    """Tests of migrations leave other schemas behind."""
    cursor.execute("SELECT version_num FROM alembic_version")
    return cursor.fetchall() == [(migrations.NEWEST,)]


@pytest.fixture(params=BOTH)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """An empty database that only this test uses."""
    if request.param == "sqlite":
        return open_engine(f"sqlite:///{tmp_path / 'test.db'}")
    engine = open_engine(request.getfixturevalue("shared_postgres"))
    return emptied(engine, keep_tables="database" in request.fixturenames)


@pytest.fixture
def database(engine: Engine) -> Iterator[Database]:
    """A database with all tables and the default project and experiment."""
    prepare(engine)
    database = Database(engine, ManualClock(), SeededIds())
    try:
        database.write_now(lambda tx: projects.create_default(tx, PROJECT))
        database.write_now(experiments.create_default)
        yield database
    finally:
        database.close()


@pytest.fixture(params=STORES)
def location(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where an empty blob store is, as `mlwright up --artifacts` takes it."""
    if request.param == "directory":
        return str(tmp_path / "blobs")
    endpoint = request.getfixturevalue("moto_s3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", endpoint.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", endpoint.secret_key)
    return f"s3://{endpoint.bucket}/some/prefix"
