"""Moving in on both databases: whatever the pieces and their order, the result is as if it had been logged here."""

import itertools
import math
import random
from collections.abc import Sequence

import pytest

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Conflict, Denied, Invalid
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.kernel.transaction import Tx
from mlwright.tracking import points as packed
from mlwright.tracking.points import Point
from mlwright.tracking.ports import MovedExperiment, MovedModel, MovedRun
from mlwright.tracking.service import bulk, bulk_models, experiments, metrics, models, purge, runs
from mlwright.tracking.service.appending import MetricWriter
from mlwright.tracking.spec import (
    Dataset,
    DatasetInput,
    Metric,
    ModelOutput,
    ModelStatus,
    Param,
    RunStatus,
    Tag,
)
from mlwright.tracking.validation import clamp

RUN = "ab" * 16
OTHER = "cd" * 16
MODEL = "m-" + "ef" * 16
MOVED = MovedRun(
    RUN, "keen", "ada", RunStatus.FAILED, 5, 9, True, "", [Param("p", ""), Param("q", "é")], [Tag("t", "x")],
    [DatasetInput(Dataset("d", "1", "local", "{}", None, "{}"), [Tag("mlflow.data.context", "training")])],
    [MODEL], [ModelOutput(MODEL, 3)],
)  # fmt: skip


def imported(database: Database, moved: MovedRun = MOVED) -> bulk.ImportedRun:
    return database.write_now(lambda tx: bulk.import_runs(tx, LOCAL, 0, [moved]))[0]


def series(database: Database, run_id: str, key: str, points: Sequence[Point]) -> int:
    data = packed.pack(points)
    return database.write_now(lambda tx: bulk.import_series(tx, LOCAL, [(run_id, key, data)]))[0]


def some_points(seed: int, count: int) -> list[Point]:
    """Points with ties, repetitions, NaN and infinities, and negative steps."""
    draw = random.Random(seed)
    values = [0.0, 1.5, -2.0, math.nan, math.inf, -math.inf, 7.25]
    return [
        Point(draw.randint(-3, count // 3), 1_000 + draw.randint(0, count // 2), draw.choice(values))
        for _ in range(count)
    ]


@pytest.mark.parametrize(("seed", "count"), [(1, 5), (2, 40), (3, 400), (4, 9_000)])
def test_histories_in_any_pieces_are_as_if_logged(database: Database, seed: int, count: int) -> None:
    points = some_points(seed, count)
    draw = random.Random(seed)
    imported(database)
    imported(database, MovedRun(OTHER))
    cuts = [0, *sorted(draw.sample(range(count), min(4, count - 1))), count]
    pieces = [points[start:end] for start, end in itertools.pairwise(cuts)]
    draw.shuffle(pieces)
    added = sum(series(database, RUN, "m", piece) for piece in pieces)
    info = database.read_now(lambda tx: runs.get(tx, LOCAL, OTHER)).info
    logged = packed.pack([(each.step, each.timestamp, clamp(each.value)) for each in points])
    database.write_now(lambda tx: MetricWriter(tx, info.experiment_id, info.row).append({"m": logged}))

    found = database.read_now(lambda tx: _all(tx, RUN))
    expected = database.read_now(lambda tx: _all(tx, OTHER))
    assert repr(found) == repr(expected)
    assert added == len(found[1])
    assert series(database, RUN, "m", points) == 0
    states = database.read_now(lambda tx: bulk.states(tx, LOCAL, [RUN, OTHER]))
    assert states[0].series == states[1].series


def _all(tx: Tx, run_id: str) -> tuple[list[Metric], list[Point], list[Point]]:
    run = runs.get(tx, LOCAL, run_id)
    return run.metrics, metrics.history(tx, run.info, "m"), metrics.history(tx, run.info, "m", 3, 7)


def test_rising_pieces_are_appended_and_can_be_logged_on_to(database: Database) -> None:
    imported(database)
    points = [Point(step, 1_000 + step, 1.0 / (step + 1)) for step in range(10_000)]
    for start in range(0, 10_000, 3_000):
        assert series(database, RUN, "m", points[start : start + 3_000]) == len(points[start : start + 3_000])
    database.write_now(lambda tx: runs.log_metric(tx, LOCAL, RUN, Metric("m", 5.0, 20_000, 10_000)))
    found = database.read_now(lambda tx: _all(tx, RUN))
    assert found[1] == [*points, Point(10_000, 20_000, 5.0)]
    assert found[2] == points[3:10]
    assert found[0] == [Metric("m", 5.0, 20_000, 10_000)]


def test_a_run_comes_with_all_it_has_and_only_once(database: Database) -> None:
    assert imported(database).created
    run = database.read_now(lambda tx: runs.get(tx, LOCAL, RUN))
    info = run.info
    assert (info.name, info.user_id, info.status, info.start_ms, info.end_ms) == ("keen", "ada", RunStatus.FAILED, 5, 9)
    assert info.artifact_uri == f"mlflow-artifacts:/0/{RUN}/artifacts"
    assert run.params == MOVED.params
    assert run.tags == [Tag("mlflow.runName", "keen"), Tag("t", "x")]
    assert (run.dataset_inputs, run.model_inputs, run.model_outputs) == (
        MOVED.inputs, MOVED.model_inputs, MOVED.model_outputs,
    )  # fmt: skip
    again = imported(database)
    assert (again.created, again.changed) == (False, [])
    state = database.read_now(lambda tx: bulk.states(tx, LOCAL, [RUN]))[0]
    assert state == bulk.state_of(MOVED, {})


def test_a_run_that_went_on_is_completed_and_what_was_added_here_stays(database: Database) -> None:
    imported(database, MovedRun(RUN, "keen", status=RunStatus.RUNNING, tags=[Tag("t", "old")]))
    database.write_now(lambda tx: runs.set_tags(tx, LOCAL, RUN, [Tag("ours", "kept")]))
    assert imported(database).changed == ["info", "params", "tags", "inputs", "models"]
    run = database.read_now(lambda tx: runs.get(tx, LOCAL, RUN))
    assert run.info.status == RunStatus.FAILED
    assert [(tag.key, tag.value) for tag in run.tags] == [("mlflow.runName", "keen"), ("ours", "kept"), ("t", "x")]
    assert imported(database).changed == []


def test_a_dry_run_writes_nothing(database: Database) -> None:
    answer = database.write_now(lambda tx: bulk.import_runs(tx, LOCAL, 0, [MOVED], dry=True))
    assert answer[0].created
    assert database.read_now(lambda tx: bulk.states(tx, LOCAL, [RUN])) == []


def test_an_experiment_is_known_by_name_and_creation(database: Database) -> None:
    moved = MovedExperiment("7", "old", False, 100, 200, [Tag("a", "b")])
    first = database.write_now(lambda tx: bulk.import_experiment(tx, LOCAL, "", moved))
    assert first.changed
    assert not database.write_now(lambda tx: bulk.import_experiment(tx, LOCAL, "", moved)).changed
    found = database.read_now(lambda tx: experiments.get(tx, LOCAL, first.experiment_id or 0))
    assert (found.name, found.active, found.created_ms, found.tags) == ("old", False, 100, [Tag("a", "b")])
    other = MovedExperiment("7", "old", created_ms=101)
    with pytest.raises(Conflict, match="another experiment") as raised:
        database.write_now(lambda tx: bulk.import_experiment(tx, LOCAL, "", other))
    assert "--prefix" in raised.value.hint
    assert database.write_now(lambda tx: bulk.import_experiment(tx, LOCAL, "", other, "new ")).name == "new old"


def test_default_is_the_same_everywhere(database: Database) -> None:
    default = MovedExperiment("0", "Default", created_ms=1)
    assert database.write_now(lambda tx: bulk.import_experiment(tx, LOCAL, "", default)).experiment_id == 0


def test_a_run_of_another_experiment_is_a_conflict(database: Database) -> None:
    imported(database)
    number = database.write_now(lambda tx: experiments.create(tx, LOCAL, "second"))
    with pytest.raises(Conflict, match="already here"):
        database.write_now(lambda tx: bulk.import_runs(tx, LOCAL, number, [MOVED]))


@pytest.mark.parametrize("run_id", ["", "x" * 32, "AB" * 16, "../" + "a" * 29])
def test_what_is_no_run_id_is_refused(database: Database, run_id: str) -> None:
    with pytest.raises(Invalid):
        imported(database, MovedRun(run_id))


def test_half_a_record_is_refused(database: Database) -> None:
    imported(database)
    with pytest.raises(Invalid, match="24 bytes"):
        database.write_now(lambda tx: bulk.import_series(tx, LOCAL, [(RUN, "m", b"x" * 25)]))


def test_viewers_move_nothing_in(database: Database) -> None:
    viewer = Caller("eve", roles={"default": Role.VIEWER})
    imported(database)
    with pytest.raises(Denied):
        database.write_now(lambda tx: bulk.import_runs(tx, viewer, 0, [MOVED]))
    with pytest.raises(Denied):
        database.write_now(lambda tx: bulk.import_series(tx, viewer, [(RUN, "m", b"")]))
    stranger = Caller("mallory")
    assert database.read_now(lambda tx: bulk.states(tx, stranger, [RUN])) == []


def test_a_model_comes_with_all_it_has_and_only_once(database: Database) -> None:
    points = [Metric("f1", math.nan, 5, 1, MODEL, "d", "1", RUN), Metric("f1", 0.5, 6, 2, MODEL, "", "", RUN)]
    moved = MovedModel(
        MODEL, "tree", 10, 20, ModelStatus.READY, "", "agent", RUN, True, "", [Param("a", "1")], [Tag("b", "2")], points
    )
    for changed in (["info", "params", "tags", "metrics"], []):
        answer = database.write_now(lambda tx: bulk_models.import_models(tx, LOCAL, 0, [moved]))
        assert answer[0].changed == changed
    found = database.read_now(lambda tx: models.get(tx, LOCAL, MODEL))
    assert repr(found.metrics) == repr(points)
    assert (found.created_ms, found.updated_ms, found.source_run_id, found.model_type) == (10, 20, RUN, "agent")
    assert database.read_now(lambda tx: bulk_models.states(tx, LOCAL, [MODEL])) == [bulk_models.state_of(moved)]


def test_purging_takes_what_was_deleted_long_ago(database: Database) -> None:
    imported(database)
    imported(database, MovedRun(OTHER, active=False))
    series(database, OTHER, "m", [Point(1, 1, 1.0)])
    now = database.clock.now_ms()
    assert database.write_now(lambda tx: purge.purge_runs(tx, LOCAL, now - 1, 10)) == []
    gone = database.write_now(lambda tx: purge.purge_runs(tx, LOCAL, now + 1, 10))
    assert [each.id for each in gone] == [OTHER]
    assert database.read_now(lambda tx: [each.run_id for each in bulk.states(tx, LOCAL, [RUN, OTHER])]) == [RUN]
    with pytest.raises(Denied):
        database.write_now(lambda tx: purge.purge_runs(tx, Caller("eve"), now + 1, 10))


def test_purging_an_experiment_takes_its_runs_and_models(database: Database) -> None:
    number = database.write_now(lambda tx: experiments.create(tx, LOCAL, "old"))
    run = database.write_now(lambda tx: runs.create(tx, LOCAL, number))
    model = database.write_now(lambda tx: models.create(tx, LOCAL, number, params=[Param("a", "b")]))
    database.write_now(lambda tx: experiments.delete_experiment(tx, LOCAL, number))
    after = database.clock.now_ms() + 1
    steps = (purge.purge_runs, purge.purge_models, purge.purge_experiments)
    found = [database.write_now(lambda tx, step=step: step(tx, LOCAL, after, 10)) for step in steps]  # type: ignore[misc]
    assert [[each.id for each in gone] for gone in found] == [[run.info.run_id], [model.model_id], [str(number)]]
    assert database.write_now(lambda tx: experiments.create(tx, LOCAL, "old")) != number


def test_what_is_moved_in_claims_no_folder_of_this_server(database: Database) -> None:
    """Such a URI means the source's artifact store; here it would name the files of somebody else."""
    victim = "mlflow-artifacts:/0/" + "9" * 32
    imported(database, MovedRun(RUN, artifact_uri=victim))
    moved = [MovedModel(MODEL, "m", artifact_uri=victim)]
    database.write_now(lambda tx: bulk_models.import_models(tx, LOCAL, 0, moved))
    imported(database, MovedRun(OTHER, artifact_uri="s3://bucket/1"))
    uris = database.read_now(
        lambda tx: (
            [runs.find(tx, LOCAL, each).info.artifact_uri for each in (RUN, OTHER)]
            + [models.get(tx, LOCAL, MODEL).artifact_uri]
        )
    )
    own = "mlflow-artifacts:/0"
    assert uris == [f"{own}/{RUN}/artifacts", "s3://bucket/1", f"{own}/models/{MODEL}/artifacts"]
