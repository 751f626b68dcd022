"""MLflow's databases and folders of any age, made by hand; real ones are read in tests/e2e/test_moving.py."""

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mlwright.backends.mlflow.artifacts import ArtifactStore
from mlwright.backends.mlflow.opening import open_source
from mlwright.backends.mlflow.server import ServerSource
from mlwright.kernel.errors import Invalid, NotFound, Unavailable
from mlwright.registry.ports import MovedRegisteredModel
from mlwright.tracking import points as packed
from mlwright.tracking.ports import MovedFile
from mlwright.tracking.spec import Param, RunStatus, Tag

RUN = "ab" * 16

#: MLflow 1.0: no tags of experiments, no times of experiments, no names of runs, no datasets, no models.
OLD_SCHEMA = f"""
    CREATE TABLE experiments (experiment_id INTEGER, name TEXT, artifact_location TEXT, lifecycle_stage TEXT);
    CREATE TABLE runs (run_uuid TEXT, name TEXT, user_id TEXT, status TEXT, start_time INTEGER, end_time INTEGER,
        lifecycle_stage TEXT, artifact_uri TEXT, experiment_id INTEGER);
    CREATE TABLE metrics (key TEXT, value REAL, timestamp INTEGER, run_uuid TEXT, step INTEGER, is_nan INTEGER);
    CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT);
    CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT);
    INSERT INTO experiments VALUES (0, 'Default', './mlruns/0', 'active'), (3, 'old', './mlruns/3', 'deleted');
    INSERT INTO runs VALUES ('{RUN}', NULL, NULL, 'KILLED', 5, NULL, 'deleted', './mlruns/3/{RUN}/artifacts', 3);
    INSERT INTO metrics VALUES ('m', 0.5, 10, '{RUN}', 1, 0), ('m', 0, 11, '{RUN}', 2, 1), ('a', 1, 1, '{RUN}', 0, 0);
    INSERT INTO params VALUES ('p', '', '{RUN}');
    INSERT INTO tags VALUES ('mlflow.runName', 'x', '{RUN}'), ('n', NULL, '{RUN}');
"""


@pytest.fixture
def old_database(tmp_path: Path) -> Path:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD_SCHEMA)
    folder = tmp_path / "mlruns" / "3" / RUN / "artifacts" / "sub"
    folder.mkdir(parents=True)
    (folder / "file").write_text("bytes")
    return path


def test_an_old_database_is_read(old_database: Path) -> None:
    source = open_source(f"sqlite:///{old_database}")
    default, old = source.experiments()
    assert (default.source_id, old.name, old.active, old.created_ms, old.tags) == ("0", "old", False, 0, [])
    (run,) = source.runs(old)
    assert (run.status, run.end_ms, run.active, run.user_id) == (RunStatus.KILLED, None, False, "")
    assert run.params == [Param("p", "")]
    assert run.tags == [Tag("mlflow.runName", "x"), Tag("n", "")]
    histories = dict(source.histories(old, run))
    assert list(histories) == ["a", "m"]
    assert repr(packed.unpack(histories["m"])) == repr([(1, 10, 0.5), (2, 11, math.nan)])
    assert list(source.models(old)) == []
    assert source.registered_models() == []  # type: ignore[attr-defined]
    (file,) = source.files(old, run)
    assert file == MovedFile("sub/file", 5)
    assert b"".join(source.read(old, run, file)) == b"bytes"
    assert list(source.runs(old, only=set())) == []
    source.close()


def test_nothing_is_written_to_the_source(old_database: Path) -> None:
    before = old_database.read_bytes()
    source = open_source(str(old_database))
    list(source.runs(source.experiments()[1]))
    source.close()
    assert old_database.read_bytes() == before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "mlruns"
    experiment = root / ".trash" / "7"
    run = experiment / RUN
    for name in ("metrics/deep", "params", "tags", "inputs/i", "artifacts"):
        (run / name).mkdir(parents=True)
    (experiment / "meta.yaml").write_text("experiment_id: '7'\nname: gone\nlifecycle_stage: deleted\n")
    (experiment / "datasets" / "d").mkdir(parents=True)
    (experiment / "datasets" / "d" / "meta.yaml").write_text("name: data\ndigest: '12'\nsource: s\nsource_type: t\n")
    (run / "meta.yaml").write_text(f"run_uuid: {RUN}\nstatus: 4\nstart_time: 5\nend_time: 6\nlifecycle_stage: active\n")
    (run / "metrics" / "deep" / "m").write_text("10 0.5 1\n11 nan\n12 inf 3 data 12\n")
    (run / "params" / "p").write_text("two\nlines")
    (run / "inputs" / "i" / "meta.yaml").write_text("source_type: DATASET\nsource_id: d\ntags: {a: b}\n")
    (run / "artifacts" / "file").write_text("bytes")
    return root


def test_a_folder_is_read(folder: Path) -> None:
    source = open_source(str(folder))
    (gone,) = source.experiments()
    assert (gone.source_id, gone.name, gone.active) == ("7", "gone", False)
    (run,) = source.runs(gone)
    assert (run.status, run.start_ms, run.end_ms, run.params) == (RunStatus.FAILED, 5, 6, [Param("p", "two\nlines")])
    assert (run.inputs[0].dataset.digest, run.inputs[0].tags) == ("12", [Tag("a", "b")])
    ((key, data),) = source.histories(gone, run)
    assert key == "deep/m"
    assert repr(packed.unpack(data)) == repr([(1, 10, 0.5), (0, 11, math.nan), (3, 12, math.inf)])
    assert list(source.files(gone, run)) == [MovedFile("file", 5)]


def test_the_registry_of_a_folder_is_read(folder: Path) -> None:
    model = folder / "models" / "m"
    for name in ("tags", "aliases", "version-10", "version-2", "version-3"):
        (model / name).mkdir(parents=True)
    (model / "meta.yaml").write_text("name: m\ncreation_timestamp: 5\ndescription: null\n")
    (model / "tags" / "team").write_text("red")
    (model / "aliases" / "champion").write_text("10")
    for number, stage in (("10", "Production"), ("2", "None"), ("3", "Deleted_Internal")):
        (model / f"version-{number}" / "meta.yaml").write_text(f"current_stage: {stage}\nsource: s\nuser_id: ada\n")
    source = open_source(str(folder))
    (found,) = source.registered_models()  # type: ignore[attr-defined]
    assert found == MovedRegisteredModel("m", "", 5, 5, {"team": "red"}, {"champion": 10})
    versions = source.versions(found)  # type: ignore[attr-defined]
    assert [(each.version, each.stage.value, each.author) for each in versions] == [
        (2, "None", "ada"),
        (10, "Production", "ada"),
    ]
    assert [each.name for each in source.experiments()] == ["gone"]
    (model / "aliases" / "champion").write_text("ten")
    with pytest.raises(Invalid, match="'ten' is not the number of a version"):
        source.registered_models()  # type: ignore[attr-defined]


def test_a_broken_line_is_named(folder: Path) -> None:
    (folder / ".trash" / "7" / RUN / "metrics" / "bad").write_text("10 high 1\n")
    source = open_source(f"file://{folder}")
    (gone,) = source.experiments()
    with pytest.raises(Invalid, match="'10 high 1'") as raised:
        list(source.histories(gone, next(iter(source.runs(gone)))))
    assert raised.value.path.endswith("metrics/bad")


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("nowhere", NotFound),
        ("sqlite:///nowhere.db", NotFound),
        ("mysql://host/db", Invalid),
        ("http://127.0.0.1:9", Unavailable),
    ],
)
def test_what_is_no_source_is_explained(address: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised:
        open_source(address).experiments()
    assert raised.value.hint  # type: ignore[attr-defined]


def test_files_and_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but long enough")
    with pytest.raises(Invalid, match="not a SQLite database"):
        open_source(str(tmp_path / "text"))
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE t (a)")
    with pytest.raises(Invalid, match="no tables of MLflow"):
        open_source(str(tmp_path / "other.db"))
    with pytest.raises(NotFound, match="no experiments"):
        open_source(str(tmp_path))


def test_passwords_do_not_stay_in_the_address() -> None:
    source = ServerSource("http://ada:s%40crat@127.0.0.1:9/base/")
    with pytest.raises(Unavailable) as raised:
        source.experiments()
    source.close()
    assert "s%40crat" not in raised.value.message
    assert "127.0.0.1:9/base" in raised.value.message


@pytest.mark.parametrize(
    ("store", "uri", "location", "place"),
    [
        (ArtifactStore(), "file:///a%20b/1/r/artifacts", "", "/a b/1/r/artifacts"),
        (ArtifactStore(beside=Path("/x")), "./mlruns/1/r/artifacts", "", "/x/mlruns/1/r/artifacts"),
        (ArtifactStore(), "s3://bucket/1/r/artifacts", "", "s3://bucket/1/r/artifacts"),
        (ArtifactStore(proxied="/p"), "mlflow-artifacts:/1/r/artifacts", "", "/p/1/r/artifacts"),
        (ArtifactStore(proxied="/p"), "mlflow-artifacts://host:5/1/r/artifacts", "", "/p/1/r/artifacts"),
        (ArtifactStore("/new"), "s3://b/x/1/r/artifacts", "s3://b/x/1", "/new/1/r/artifacts"),
        (ArtifactStore("/new"), "s3://b/x/1/models/m-1/artifacts", "s3://b/x/1/", "/new/1/models/m-1/artifacts"),
        (ArtifactStore("s3://new/y"), "file:///x/1/r/artifacts", "", "s3://new/y/1/r/artifacts"),
    ],
)
def test_recorded_places_are_found(store: ArtifactStore, uri: str, location: str, place: str) -> None:
    assert store.locate(uri, location) == place


@pytest.mark.parametrize("uri", ["mlflow-artifacts:/1/r/artifacts", "dbfs:/1/r/artifacts"])
def test_a_place_that_cannot_be_known_is_named(uri: str) -> None:
    with pytest.raises(NotFound) as raised:
        ArtifactStore().locate(uri, "")
    assert "--artifacts-root" in raised.value.hint
