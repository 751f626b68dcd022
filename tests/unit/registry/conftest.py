"""For gates that run models: one folder of environments for all tests, and a registry for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlwright.app.wiring import prepare
from mlwright.kernel.clock import ManualClock
from mlwright.kernel.database import Database
from mlwright.kernel.engine import open_engine
from mlwright.kernel.ids import SeededIds
from mlwright.security import projects
from mlwright.tracking.service import experiments
from tests.unit.registry.model_world import ModelGates, prepare_wheels


@pytest.fixture(scope="session")
def environments_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of the models' library, and what is built from them."""
    folder = tmp_path_factory.mktemp("models")
    prepare_wheels(folder)
    return folder


@pytest.fixture
def models(environments_folder: Path, tmp_path: Path) -> Iterator[ModelGates]:
    """A registry on SQLite; the contract suite of gates runs on both databases."""
    engine = open_engine(f"sqlite:///{tmp_path / 'test.db'}")
    prepare(engine)
    database = Database(engine, ManualClock(), SeededIds())
    try:
        kind = projects.kind(experiments.held_by)
        database.write_now(lambda tx: projects.create_default(tx, kind))
        database.write_now(experiments.create_default)
        yield ModelGates(database, environments_folder, tmp_path / "gates")
    finally:
        database.close()
