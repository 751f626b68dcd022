"""A platform's database with a bit of everything in it: the test database of each release is made from this."""

import math
from pathlib import Path

from mlwright.app import migrations
from mlwright.artifacts import service as artifacts
from mlwright.kernel import schema
from mlwright.kernel.blobs import Blob, blob_of
from mlwright.kernel.clock import ManualClock
from mlwright.kernel.database import Database
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.kernel.ids import SeededIds
from mlwright.kernel.sqlite import SqliteEngine
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import aliases, registration
from mlwright.registry.service import models as registered
from mlwright.registry.service.registration import Description
from mlwright.registry.spec import NewVersion
from mlwright.security import projects
from mlwright.security import service as security
from mlwright.security.secrets import hash_password
from mlwright.security.spec import PrincipalKind
from mlwright.tracking.service import experiments, inputs, models, notes, runs
from mlwright.tracking.service.owners import TrackingOwners
from mlwright.tracking.spec import Dataset, DatasetInput, Metric, ModelOutput, Param, RunStatus, Tag

PROJECT = projects.kind(experiments.held_by)
PASSWORD = "correct horse battery"
#: Run id of the sample's finished run, experiment id of its experiment: both follow from the seed.
EXPERIMENT = "digits"
MODEL = "net"


def fill(folder: Path) -> Path:
    """Make the database in `folder`; returns its file. The same every time, but for salts and secrets."""
    path = folder / "mlwright.db"
    engine = SqliteEngine(f"sqlite:///{path}")
    schema.prepare(engine, migrations.NEWEST, migrations.KNOWN, migrations.upgrade)
    database = Database(engine, ManualClock(), SeededIds(1))
    try:
        for work in (_people, _tracking):
            database.write_now(work)
    finally:
        database.close()
    return path


def _people(tx: Tx) -> None:
    projects.create_default(tx, PROJECT)
    experiments.create_default(tx)
    projects.create(tx, LOCAL, PROJECT, "vision", "Pictures")
    security.create_principal(tx, LOCAL, "ada", PrincipalKind.USER, hash_password(PASSWORD), admin=True)
    security.create_principal(tx, LOCAL, "robot", PrincipalKind.SERVICE)
    security.create_token(tx, LOCAL, "robot", "nightly", None)
    security.grant(tx, LOCAL, "vision", "robot", "editor")


def _tracking(tx: Tx) -> None:
    experiment = experiments.create(tx, LOCAL, EXPERIMENT, tags=[Tag("team", "vision")], project="vision")
    run_id = runs.create(tx, LOCAL, experiment, "ada", 1_000, "first").info.run_id
    many = [Metric("loss", 1 / (step + 1), 1_000 + step, step) for step in range(300)]
    runs.log_batch(tx, LOCAL, run_id, [*many, Metric("odd", math.nan, 5, 1)], [Param("lr", "0.1")], [Tag("note", "é")])
    dataset = DatasetInput(Dataset("train", "d1", "local", "{}"), [Tag(inputs.CONTEXT_TAG, "training")])
    inputs.log_inputs(tx, LOCAL, run_id, [dataset])
    model = models.create(tx, LOCAL, experiment, "net", "", run_id, [Param("depth", "3")], [Tag("stage", "dev")])
    inputs.log_outputs(tx, LOCAL, run_id, [ModelOutput(model.model_id, 7)])
    runs.log_metric(tx, LOCAL, run_id, Metric("accuracy", 0.9, 10, 7, model.model_id, "train", "d1"))
    notes.add_comment(tx, LOCAL, run_id, "good")
    notes.save_view(tx, LOCAL, experiment, "best", {"order": "metrics.loss"})
    blob = Blob("sha256:" + "0" * 64, 0)
    artifacts.put(tx, LOCAL, TrackingOwners(), f"{experiment}/{run_id}/artifacts/a.txt", blob)
    small = f"{experiment}/{run_id}/artifacts/small.txt"
    artifacts.put(tx, LOCAL, TrackingOwners(), small, blob_of(b"small"), b"small")
    artifacts.start_upload(tx, LOCAL, TrackingOwners(), f"{experiment}/{run_id}/artifacts/b.bin")
    runs.update_info(tx, LOCAL, run_id, RunStatus.FINISHED, 2_000)
    deleted = runs.create(tx, LOCAL, experiment, name="gone").info.run_id
    runs.delete_run(tx, LOCAL, deleted)
    _registry(tx, f"{experiment}/{run_id}/artifacts", run_id)


def _registry(tx: Tx, folder: str, run_id: str) -> None:
    caller = Caller("ada", everywhere=Role.ADMIN, project="vision")
    registered.create(tx, caller, MODEL, "What it is for", {"team": "vision"})
    new = NewVersion(MODEL, f"mlflow-artifacts:/{folder}", run_id, description="first", tags={"checked": "yes"})
    registration.create(tx, caller, new, Description())
    aliases.move(tx, caller, MODEL, "champion", 1)
