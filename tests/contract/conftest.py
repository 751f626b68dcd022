"""Databases for contract suites: an engine and a prepared database, each on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlwright.app.wiring import prepare
from mlwright.kernel.clock import ManualClock
from mlwright.kernel.database import Database
from mlwright.kernel.engine import Engine, open_engine
from mlwright.kernel.ids import SeededIds
from mlwright.security import projects
from mlwright.tracking.service import experiments

BOTH = [pytest.param("sqlite", id="sqlite"), pytest.param("postgresql", id="postgresql", marks=pytest.mark.component)]
PROJECT = projects.kind(experiments.held_by)


@pytest.fixture(params=BOTH)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """An empty database of this test alone."""
    if request.param == "sqlite":
        return open_engine(f"sqlite:///{tmp_path / 'test.db'}")
    return open_engine(request.getfixturevalue("postgres_url"))


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
