"""Migrations and the tables of this release are the same, on both databases; old data survives, failures leave none."""

import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, create_engine, select

from mlwright.app import migrations, wiring
from mlwright.kernel import events, schema, store
from mlwright.kernel.columns import METADATA
from mlwright.kernel.database import Database
from mlwright.kernel.engine import Engine
from mlwright.kernel.errors import Conflict, MlwrightError
from mlwright.kernel.identity import LOCAL
from mlwright.kernel.sqlite import SqliteEngine
from mlwright.registry.service import aliases
from mlwright.security import service as security
from mlwright.tracking import tables
from mlwright.tracking.service import experiments, metrics, models, notes, runs
from tests.unit.app import sample

_SQLITE_CATALOGUE = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"
_COLUMNS = (
    "SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name"
    " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
)
_INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
_CONSTRAINTS = (
    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace AND contype <> 'n' ORDER BY 1"
)


def rows(engine: Engine, *statements: str) -> list[Any]:
    connection = engine.connect(writable=True)
    try:
        cursor = connection.cursor()
        found = []
        for statement in statements:
            cursor.execute(statement)
            found.append(cursor.fetchall() if statement.startswith("SELECT") else [])
        return found
    finally:
        connection.close()


def catalogue(engine: Engine) -> list[Any]:
    """Every table, index and constraint but Alembic's own, as the database itself describes it."""
    if engine.dialect == "sqlite":
        found = rows(engine, _SQLITE_CATALOGUE)[0]
        return [(kind, name, "".join((sql or "").split())) for kind, name, sql in found if "alembic" not in name]
    return [row for part in rows(engine, _COLUMNS, _INDEXES, _CONSTRAINTS) for row in part if "alembic" not in row[0]]


def wipe(engine: Engine) -> None:
    if engine.dialect == "postgresql":
        rows(engine, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    else:
        path = Path(engine.statistics()["location"])
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()


def without_exact(found: list[Any]) -> list[Any]:
    """SQLite keeps the text of statements, in which constraints may stand in another order: compare its parts."""
    return sorted((kind, name, sorted(sql)) if isinstance(sql, str) else (kind, name, sql) for kind, name, sql in found)


def test_migrations_make_the_tables_of_this_release(engine: Engine) -> None:
    schema.prepare(engine, migrations.NEWEST, migrations.KNOWN, migrations.upgrade)
    created = catalogue(engine)
    wipe(engine)
    migrations.upgrade(engine)
    migrated = catalogue(engine)
    assert len(created) > 25
    if engine.dialect == "sqlite":
        assert without_exact(migrated) == without_exact(created)
    else:
        assert migrated == created
    assert rows(engine, "SELECT version_num FROM alembic_version") == [[(migrations.NEWEST,)]]


@pytest.mark.filterwarnings("ignore:autogenerate skipping:UserWarning")
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection")
def test_alembic_sees_no_difference(engine: Engine) -> None:
    migrations.upgrade(engine)
    url = "sqlite://" if engine.dialect == "sqlite" else "postgresql+psycopg://"
    alchemy = create_engine(url, creator=lambda: engine.connect(writable=True), poolclass=NullPool)
    with alchemy.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_an_upgraded_database_is_left_alone(engine: Engine) -> None:
    migrations.upgrade(engine)
    wiring.prepare(engine)
    wiring.prepare(engine)
    assert rows(engine, "SELECT count(*) FROM alembic_version") == [[(1,)]]


def test_a_database_from_the_future_is_refused(engine: Engine) -> None:
    wiring.prepare(engine)
    rows(engine, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Conflict, match="schema 9999") as caught:
        wiring.prepare(engine)
    assert caught.value.exit_code == 5
    assert "upgrade" in caught.value.hint


def newer(folder: Path, body: str) -> Path:
    """A copy of the scripts with one more revision."""
    target = folder / "migrations"
    shutil.copytree(migrations.FOLDER, target, ignore=shutil.ignore_patterns("__pycache__"))
    (target / "versions" / "9000_next.py").write_text(
        f"from alembic import op\nimport sqlalchemy as sa\nrevision = '9000'\ndown_revision = '{migrations.NEWEST}'\n"
        f"branch_labels = depends_on = None\n\n\ndef upgrade():\n    {body}\n"
    )
    return target


_ADD = "op.add_column('principals', sa.Column('mail', sa.Text))"


def test_the_next_release_can_add_a_column(engine: Engine, tmp_path: Path) -> None:
    wiring.prepare(engine)
    insert = "INSERT INTO principals (name, kind, created_ms) VALUES ('ada', 'user', 1)"
    rows(engine, insert)
    schema.prepare(
        engine, "9000", migrations.KNOWN | {"9000"}, lambda each: migrations.upgrade(each, newer(tmp_path, _ADD))
    )
    assert rows(engine, "SELECT name, mail FROM principals") == [[("ada", None)]]
    assert rows(engine, "SELECT version_num FROM alembic_version") == [[("9000",)]]


def test_a_failed_upgrade_leaves_the_old_database(engine: Engine, tmp_path: Path) -> None:
    wiring.prepare(engine)
    before = catalogue(engine)
    folder = newer(tmp_path, f"{_ADD}\n    raise RuntimeError('half-way')")
    with pytest.raises(RuntimeError, match="half-way"):
        migrations.upgrade(engine, folder)
    assert catalogue(engine) == before
    assert rows(engine, "SELECT version_num FROM alembic_version") == [[(migrations.NEWEST,)]]


def test_two_servers_may_start_on_one_empty_database(engine: Engine) -> None:
    def prepare(_: int) -> MlwrightError | None:
        try:
            wiring.prepare(engine)
        except MlwrightError as error:
            return error
        return None

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(prepare, range(4))) == [None] * 4


def test_newest_and_known_are_the_scripts() -> None:
    scripts = ScriptDirectory(str(migrations.FOLDER))
    assert scripts.get_current_head() == migrations.NEWEST
    assert {each.revision for each in scripts.walk_revisions()} == migrations.KNOWN


@pytest.fixture
def release(tmp_path: Path) -> Callable[[str], Engine]:
    """Makes a database from the dump of a release."""

    def restore(version: str) -> Engine:
        path = tmp_path / "mlwright.db"
        connection = sqlite3.connect(path)
        connection.executescript((Path(__file__).parents[1] / "data" / f"release-{version}.sql").read_text())
        connection.close()
        return SqliteEngine(f"sqlite:///{path}")

    return restore


def test_a_database_of_the_first_release_is_opened(release: Callable[[str], Engine], tmp_path: Path) -> None:
    engine = release("0.1.0")
    wiring.prepare(engine)
    fresh = SqliteEngine(f"sqlite:///{tmp_path / 'fresh.db'}")
    wiring.prepare(fresh)
    assert without_exact(catalogue(engine)) == without_exact(catalogue(fresh)), "see tools/schema.py"
    database = Database(engine)
    try:
        read = database.read_now
        experiment = read(lambda tx: experiments.get_by_name(tx, LOCAL, sample.EXPERIMENT, "vision"))
        assert experiment is not None
        run_id = read(lambda tx: tx.select(select(tables.runs.c.run_id).order_by(tables.runs.c.id)))[0][0]
        run = read(lambda tx: runs.get(tx, LOCAL, run_id))
        assert {each.key: each.value for each in run.params} == {"lr": "0.1"}
        assert len(read(lambda tx: metrics.history(tx, run.info, "loss"))) == 300
        assert read(lambda tx: models.get(tx, LOCAL, run.model_outputs[0].model_id)).metrics[0].value == 0.9
        assert read(lambda tx: notes.list_comments(tx, LOCAL, run_id))[0].body == "good"
        version = read(lambda tx: aliases.lookup(tx, LOCAL, sample.MODEL, "champion", "vision"))
        assert (version.version, version.files, version.tags) == (1, 2, {"checked": "yes"})
        assert [each.metadata.name for each in read(lambda tx: store.list_all(tx, LOCAL, sample.PROJECT))] == [
            "default",
            "vision",
        ]
        assert read(lambda tx: security.caller_by_password(tx, "ada", sample.PASSWORD)).name == "ada"
        verdict = read(events.verify)
        assert verdict.findings == []
        assert verdict.events > 15
        added = database.write_now(lambda tx: runs.create(tx, LOCAL, experiment.experiment_id))
        assert added.info.row > run.info.row
    finally:
        database.close()
