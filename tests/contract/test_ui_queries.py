"""What the pages ask the database, on SQLite and PostgreSQL: keys, cells, children, counts, the list of experiments."""

import math

import pytest

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import columns, experiments, overview, runs
from mlwright.tracking.spec import Metric, Param, Tag, ViewType
from mlwright.tracking.tables import PARENT_TAG


def add(
    database: Database,
    experiment: int,
    metrics: dict[str, float],
    params: dict[str, str],
    *tags: Tag,
    start_ms: int = 1,
) -> tuple[int, str]:
    """A run; returns its row and its id."""

    def work(tx: Tx) -> tuple[int, str]:
        run = runs.create(tx, LOCAL, experiment, start_ms=start_ms, run_tags=tags)
        logged = [Metric(key, value, 5, step) for key, value in metrics.items() for step in (0, 1)]
        runs.log_batch(tx, LOCAL, run.info.run_id, logged, [Param(*pair) for pair in params.items()], [])
        return run.info.row, run.info.run_id

    return database.write_now(work)


def test_all_metric_keys_of_one_experiment(database: Database) -> None:
    one = database.write_now(lambda tx: experiments.create(tx, LOCAL, "one"))
    two = database.write_now(lambda tx: experiments.create(tx, LOCAL, "two"))
    for n in range(30):
        add(database, one, {f"m{n % 7}": 1.0, "shared": float("nan")}, {f"p{n % 3}": "x"})
    add(database, two, {"other": 1.0}, {"q": "y"})
    keys = database.read_now(lambda tx: columns.metric_keys(tx, LOCAL, one))
    assert keys == columns.Keys([*(f"m{n}" for n in range(7)), "shared"], complete=True)
    assert database.read_now(lambda tx: columns.text_keys(tx, LOCAL, one, "params")).names == ["p0", "p1", "p2"]
    assert database.read_now(lambda tx: columns.text_keys(tx, LOCAL, two, "params")).names == ["q"]
    empty = database.read_now(lambda tx: columns.metric_keys(tx, LOCAL, 0))
    assert empty == columns.Keys([], complete=True)


def test_cells_of_chosen_columns_only(database: Database) -> None:
    first, _ = add(database, 0, {"a": 0.5, "b": math.inf}, {"p": "1"}, Tag("t", "x"))
    second, _ = add(database, 0, {"a": float("nan")}, {"p": "2", "q": "é'\""})

    def values(kind: str, *keys: str) -> dict[tuple[int, str], object]:
        return database.read_now(lambda tx: columns.values(tx, kind, [first, second], keys))

    found = values("metrics", "a", "none")
    assert found.pop((second, "a")) != found
    assert found == {(first, "a"): 0.5}
    assert values("params", "p", "q") == {(first, "p"): "1", (second, "p"): "2", (second, "q"): "é'\""}
    assert values("tags", "t") == {(first, "t"): "x"}
    assert values("metrics") == {}


def test_the_commonest_keys_come_first_and_system_values_not_at_all(database: Database) -> None:
    rows = [
        add(database, 0, {"z": 1.0, "system/cpu": 1.0}, {})[0],
        add(database, 0, {"z": 1.0, "a": 1.0, "system/cpu": 1.0}, {}, Tag("mlflow.x", "1"), Tag("own", "1"))[0],
    ]
    assert database.read_now(lambda tx: columns.common_keys(tx, "metrics", rows, 5)) == ["z", "a"]
    assert database.read_now(lambda tx: columns.common_keys(tx, "metrics", rows, 1)) == ["z"]
    assert database.read_now(lambda tx: columns.common_keys(tx, "tags", rows, 5)) == ["own"]
    assert database.read_now(lambda tx: columns.common_keys(tx, "params", [], 5)) == []


def test_children(database: Database) -> None:
    _, parent = add(database, 0, {}, {})
    _, late = add(database, 0, {}, {}, Tag(PARENT_TAG, parent), start_ms=20)
    _, early = add(database, 0, {}, {}, Tag(PARENT_TAG, parent), start_ms=10)
    _, gone = add(database, 0, {}, {}, Tag(PARENT_TAG, parent))
    database.write_now(lambda tx: runs.delete_run(tx, LOCAL, gone))
    assert database.read_now(lambda tx: columns.children_counts(tx, [parent, late, "x"])) == {parent: 2}
    found = database.read_now(lambda tx: columns.children(tx, LOCAL, parent, 10))
    assert [info.run_id for info in found] == [early, late]
    stranger = Caller("sam", roles={"other": Role.ADMIN})
    assert database.read_now(lambda tx: columns.children(tx, stranger, parent, 10)) == []


def test_histories_of_a_run(database: Database) -> None:
    row, run_id = add(database, 0, {"a": 1.0, "b": float("nan")}, {})
    database.write_now(lambda tx: runs.log_metric(tx, LOCAL, run_id, Metric("once", 2.0, 7, 3)))
    found = database.read_now(lambda tx: columns.series_of(tx, row))
    assert [(each.key, each.points, each.step) for each in found] == [("a", 2, 1), ("b", 2, 1), ("once", 1, 3)]
    assert math.isnan(found[1].value)
    assert database.read_now(lambda tx: columns.curves(tx, [row], 10)) == ["a", "b"]
    assert "mlflow.runName" in database.read_now(lambda tx: columns.tags_of(tx, row))


def test_the_list_of_experiments(database: Database) -> None:
    now = database.clock.now_ms()
    quiet = database.write_now(lambda tx: experiments.create(tx, LOCAL, "Quiet_one"))
    busy = database.write_now(lambda tx: experiments.create(tx, LOCAL, "busy"))
    for n in range(3):
        add(database, busy, {}, {}, start_ms=now + n)
    _, gone = add(database, busy, {}, {}, start_ms=now)
    database.write_now(lambda tx: runs.delete_run(tx, LOCAL, gone))
    found = database.read_now(lambda tx: overview.list_experiments(tx, LOCAL))
    assert found.items[0].experiment.experiment_id == busy
    assert (found.items[0].runs, found.items[0].activity_ms, sum(found.items[0].days)) == (3, now + 2, 3)
    assert found.items[0].days[-1] == 3

    def names(text: str = "", view: ViewType = ViewType.ACTIVE_ONLY, offset: int = 0, limit: int = 50) -> list[str]:
        page = database.read_now(
            lambda tx: overview.list_experiments(tx, LOCAL, text, view, offset=offset, limit=limit)
        )
        return [item.experiment.name for item in page.items]

    assert names("QUIET_") == ["Quiet_one"]
    assert names("%") == []
    assert len(names(limit=1)) == 1
    assert len(names(offset=1)) == 2
    database.write_now(lambda tx: experiments.delete_experiment(tx, LOCAL, quiet))
    assert "Quiet_one" not in names()
    assert names(view=ViewType.DELETED_ONLY) == ["Quiet_one"]
    assert database.read_now(lambda tx: overview.projects(tx, LOCAL)) == ["default"]
    stranger = Caller("sam", roles={"other": Role.ADMIN})
    assert database.read_now(lambda tx: overview.list_experiments(tx, stranger)).items == []
    with pytest.raises(Invalid):
        names(limit=0)
