"""The verbs of tracking on both databases: experiments, runs, parameters, tags, inputs, models, notes."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from mlwright.kernel.clock import ManualClock
from mlwright.kernel.database import Database
from mlwright.kernel.errors import AlreadyExists, Conflict, Denied, Invalid, MlwrightError, NotFound
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.security import projects
from mlwright.tracking.service import experiments, inputs, models, notes, runs
from mlwright.tracking.spec import (
    Dataset,
    DatasetInput,
    LoggedModel,
    Metric,
    ModelOutput,
    ModelStatus,
    Param,
    RunStatus,
    Tag,
    ViewType,
)  # fmt: skip
from tests.contract.conftest import PROJECT
from tests.contract.tracking import Tracking

Verb = Callable[..., Any]


@pytest.fixture
def tracking(database: Database) -> Tracking:
    return Tracking(database)


def pairs(found: list[Any]) -> dict[str, str]:
    return {each.key: each.value for each in found}


# --- experiments -------------------------------------------------------------------------------------------------


def test_the_default_experiment_is_there(tracking: Tracking) -> None:
    found = tracking.experiment(0)
    assert (found.name, found.artifact_location, found.active) == ("Default", "mlflow-artifacts:/0", True)
    tracking.database.write_now(experiments.create_default)
    assert [each.name for each in tracking(experiments.list_all)] == ["Default"]


def test_an_experiment_is_created_with_all_it_was_given(tracking: Tracking) -> None:
    number = tracking(experiments.create, "É 日本", tags=[Tag("b", "2"), Tag("a", "1"), Tag("a", "3")])
    found = tracking.experiment(number)
    assert number > 0
    assert (found.name, found.project, found.artifact_location) == ("É 日本", "default", f"mlflow-artifacts:/{number}")
    assert found.tags == [Tag("a", "3"), Tag("b", "2")]
    assert found == tracking(experiments.get_by_name, "É 日本")
    assert tracking(experiments.get_by_name, "é 日本") is None
    other = tracking(experiments.create, "x", "s3://bucket/x")
    assert tracking.experiment(other).artifact_location == "s3://bucket/x"
    assert other > number


@pytest.mark.parametrize("name", ["", "a" * 501])
def test_names_of_experiments_have_limits(tracking: Tracking, name: str) -> None:
    with pytest.raises(Invalid):
        tracking(experiments.create, name)


@pytest.mark.parametrize(
    "location",
    ["runs:/x", "s3://b/../x", "s3://b/%2e%2e/x", "s3://b/x?y=1", "s3://b/x#y", "s3://b\0", "s3://" + "b" * 2048],
)
def test_unsafe_artifact_locations_are_refused(tracking: Tracking, location: str) -> None:
    with pytest.raises(Invalid) as caught:
        tracking(experiments.create, "x", location)
    assert caught.value.path == "artifact_location"


def test_a_name_is_taken_for_good(tracking: Tracking) -> None:
    number = tracking(experiments.create, "x")
    for _ in range(2):
        with pytest.raises(AlreadyExists):
            tracking(experiments.create, "x")
        if tracking.experiment(number).active:
            tracking(experiments.delete_experiment, number)
    with pytest.raises(AlreadyExists):
        tracking(experiments.rename, 0, "x")
    tracking(experiments.create, "X")


def test_names_are_taken_in_their_project_only(tracking: Tracking) -> None:
    tracking.database.write_now(lambda tx: projects.create(tx, LOCAL, PROJECT, "vision"))
    first = tracking(experiments.create, "x")
    second = tracking(experiments.create, "x", project="vision")
    assert tracking(experiments.get_by_name, "x").experiment_id == first
    assert tracking(experiments.get_by_name, "x", "vision").experiment_id == second
    inside = Tracking(tracking.database, msgspec.structs.replace(LOCAL, project="vision"))
    assert inside(experiments.get_by_name, "x").experiment_id == second


def test_renaming_and_tags_move_the_time_of_update(tracking: Tracking) -> None:
    number = tracking(experiments.create, "x")
    clock = tracking.database.clock
    assert isinstance(clock, ManualClock)
    steps: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (experiments.rename, ("y",)), (experiments.set_tag, (Tag("a", "1"),)), (experiments.delete_tag, ("a",)),
        (experiments.rename, ("y",)), (experiments.delete_experiment, ()), (experiments.restore, ()),
    ]  # fmt: skip
    for verb, arguments in steps:
        clock.advance(5)
        tracking(verb, number, *arguments)
        assert tracking.experiment(number).updated_ms == clock.now_ms()
    assert tracking.experiment(number).created_ms == clock.now_ms() - 5 * len(steps)


def test_deleting_an_experiment_takes_its_runs_along_and_back(tracking: Tracking) -> None:
    number = tracking(experiments.create, "x")
    run_id, other = tracking.new_run(number), tracking.new_run()
    tracking(experiments.delete_experiment, number)
    assert not tracking.experiment(number).active
    assert not tracking.run(run_id).info.active
    assert tracking.run(other).info.active
    refused: list[tuple[Verb, tuple[Any, ...], type[MlwrightError]]] = [
        (experiments.delete_experiment, (number,), NotFound),
        (experiments.rename, (number, "y"), Conflict),
        (experiments.set_tag, (number, Tag("a", "b")), Invalid),
        (experiments.delete_tag, (number, "a"), Invalid),
        (runs.create, (number,), Invalid),
        (models.create, (number,), Invalid),
        (runs.log_metric, (run_id, Metric("a", 1.0, 1)), Invalid),
        (notes.save_view, (number, "v", {}), Invalid),
    ]
    for verb, arguments, error in refused:
        with pytest.raises(error):
            tracking(verb, *arguments)
    tracking(experiments.restore, number)
    assert tracking.run(run_id).info.active
    with pytest.raises(NotFound):
        tracking(experiments.restore, number)


def test_views_show_active_or_deleted_experiments(tracking: Tracking) -> None:
    number = tracking(experiments.create, "x")
    tracking(experiments.delete_experiment, number)
    views = {view: [each.name for each in tracking(experiments.list_all, view)] for view in ViewType}
    assert views == {
        ViewType.ACTIVE_ONLY: ["Default"], ViewType.DELETED_ONLY: ["x"], ViewType.ALL: ["Default", "x"]
    }  # fmt: skip


def test_what_is_not_there_is_not_found(tracking: Tracking) -> None:
    calls: list[tuple[Verb, tuple[Any, ...]]] = [
        (experiments.get, (99,)), (experiments.rename, (99, "x")), (experiments.delete_experiment, (99,)),
        (experiments.delete_tag, (0, "none")), (runs.get, ("0" * 32,)), (runs.create, (99,)), (runs.delete_run, ("x",)),
        (models.get, ("m-0",)), (notes.delete_view, (0, "none")), (notes.list_comments, ("x",)),
    ]  # fmt: skip
    for verb, arguments in calls:
        with pytest.raises(NotFound):
            tracking(verb, *arguments)


def test_one_cannot_see_what_one_has_no_role_for(tracking: Tracking) -> None:
    assert tracking(experiments.readable, [5, 0, 0, 99]) == [0]
    assert Tracking(tracking.database, Caller("x"))(experiments.readable, [0]) == []


# --- runs --------------------------------------------------------------------------------------------------------


def test_a_run_starts_running_and_gets_a_name(tracking: Tracking) -> None:
    run = tracking.run(tracking.new_run(user_id="ada", start_ms=7))
    info = run.info
    assert (info.status, info.start_ms, info.end_ms, info.user_id) == (RunStatus.RUNNING, 7, None, "ada")
    assert len(info.run_id) == 32
    assert info.artifact_uri == f"mlflow-artifacts:/0/{info.run_id}/artifacts"
    assert run.tags == [Tag("mlflow.runName", info.name)]
    assert info.name


def test_the_name_of_a_run_and_its_tag_agree(tracking: Tracking) -> None:
    name = Tag(runs.RUN_NAME_TAG, "a")
    assert tracking.run(tracking.new_run(run_tags=[name])).info.name == "a"
    assert tracking.run(tracking.new_run(name="a", run_tags=[name])).info.name == "a"
    with pytest.raises(Invalid, match="different values"):
        tracking.new_run(name="b", run_tags=[name])
    run_id = tracking.new_run(name="a")
    tracking(runs.set_tags, run_id, [Tag(runs.RUN_NAME_TAG, "c")])
    assert tracking.run(run_id).info.name == "c"
    tracking(runs.update_info, run_id, name="d")
    assert pairs(tracking.run(run_id).tags) == {runs.RUN_NAME_TAG: "d"}


def test_a_run_is_updated_by_what_is_given(tracking: Tracking) -> None:
    run_id = tracking.new_run(name="a")
    tracking(runs.update_info, run_id, RunStatus.FINISHED)
    tracking(runs.update_info, run_id, end_ms=9)
    after = tracking(runs.update_info, run_id)
    assert after == tracking.run(run_id).info
    assert (after.status, after.end_ms, after.name) == (RunStatus.FINISHED, 9, "a")


def test_a_deleted_run_is_found_but_not_changed(tracking: Tracking) -> None:
    run_id = tracking.new_run()
    tracking(runs.delete_run, run_id)
    tracking(runs.delete_run, run_id)
    assert not tracking.run(run_id).info.active
    calls: list[tuple[Verb, tuple[Any, ...]]] = [
        (runs.update_info, (RunStatus.FINISHED,)), (runs.log_metric, (Metric("a", 1.0, 1),)),
        (runs.log_param, (Param("a", "b"),)), (runs.set_tags, ([Tag("a", "b")],)), (runs.delete_tag, ("a",)),
        (runs.log_batch, ([], [], [])), (inputs.log_inputs, ([],)), (inputs.log_outputs, ([],)),
        (runs.record_model, ("{}",)),
    ]  # fmt: skip
    for verb, arguments in calls:
        with pytest.raises(Invalid, match="deleted"):
            tracking(verb, run_id, *arguments)
    tracking(runs.restore, run_id)
    tracking(runs.log_param, run_id, Param("a", "b"))


# --- parameters and tags -----------------------------------------------------------------------------------------


def test_parameters_are_for_good(tracking: Tracking) -> None:
    run_id = tracking.new_run()
    tracking(runs.log_param, run_id, Param("lr", "0.1"))
    tracking(runs.log_param, run_id, Param("lr", "0.1"))
    tracking(runs.log_param, run_id, Param("empty", ""))
    with pytest.raises(Invalid, match="Changing param values is not allowed"):
        tracking(runs.log_param, run_id, Param("lr", "0.2"))
    assert pairs(tracking.run(run_id).params) == {"lr": "0.1", "empty": ""}


def test_a_batch_with_one_changed_parameter_changes_nothing(tracking: Tracking) -> None:
    run_id = tracking.new_run(name="a")
    tracking(runs.log_param, run_id, Param("lr", "0.1"))
    with pytest.raises(Invalid, match="Changing param values"):
        tracking(
            runs.log_batch, run_id, [Metric("m", 1.0, 1)], [Param("new", "1"), Param("lr", "0.2")], [Tag("t", "1")]
        )
    run = tracking.run(run_id)
    assert (pairs(run.params), run.metrics, pairs(run.tags)) == ({"lr": "0.1"}, [], {runs.RUN_NAME_TAG: "a"})


@pytest.mark.parametrize(
    ("metrics", "params", "tags", "text"),
    [
        (0, 101, 0, "at most 100 params"), (0, 0, 101, "at most 100 tags"), (1001, 0, 0, "at most 1000 metrics"),
        (950, 51, 0, "at most 1000 metrics, params, and tags"),
    ],
)  # fmt: skip
def test_batches_have_limits(tracking: Tracking, metrics: int, params: int, tags: int, text: str) -> None:
    run_id = tracking.new_run(name="a")
    batch = (
        [Metric("m", 1.0, n) for n in range(metrics)],
        [Param(f"p{n}", "1") for n in range(params)],
        [Tag(f"t{n}", "1") for n in range(tags)],
    )
    with pytest.raises(Invalid, match=text):
        tracking(runs.log_batch, run_id, *batch)
    assert tracking.run(run_id).params == []
    assert tracking.run(run_id).metrics == []


def test_a_parameter_twice_in_a_batch_is_refused(tracking: Tracking) -> None:
    with pytest.raises(Invalid, match=r"Duplicate parameter keys.*\['a'\]"):
        tracking(runs.log_batch, tracking.new_run(), [], [Param("a", "1"), Param("b", "1"), Param("a", "1")], [])


def test_of_a_tag_the_last_value_counts(tracking: Tracking) -> None:
    run_id = tracking.new_run(name="a")
    tracking(runs.set_tags, run_id, [Tag("a", "1"), Tag("a", "2"), Tag("b", "")])
    tracking(runs.log_batch, run_id, [], [], [Tag("b", "3"), Tag("c", "x" * 8_000)])
    assert pairs(tracking.run(run_id).tags) == {"a": "2", "b": "3", "c": "x" * 8_000, runs.RUN_NAME_TAG: "a"}
    tracking(runs.delete_tag, run_id, "a")
    with pytest.raises(NotFound, match="No tag with name: a"):
        tracking(runs.delete_tag, run_id, "a")


@pytest.mark.parametrize(
    ("verb", "thing"),
    [
        (runs.log_param, Param("k" * 251, "v")), (runs.log_param, Param("k", "v" * 6_001)),
        (runs.log_param, Param("", "v")),
        (runs.log_param, Param("../k", "v")), (runs.set_tags, [Tag("k" * 251, "v")]), (runs.set_tags, [Tag("", "v")]),
        (runs.set_tags, [Tag("k", "v" * 8_001)]), (runs.log_metric, Metric("k", 1.0, -1)),
    ],
)  # fmt: skip
def test_keys_and_values_have_limits(tracking: Tracking, verb: Callable[..., Any], thing: Any) -> None:
    with pytest.raises(Invalid):
        tracking(verb, tracking.new_run(), thing)


# --- inputs, outputs, models -------------------------------------------------------------------------------------


def dataset(name: str = "train", digest: str = "d1", context: str = "training") -> DatasetInput:
    return DatasetInput(Dataset(name, digest, "local", "{}", "s", "p"), [Tag(inputs.CONTEXT_TAG, context)])


def test_a_dataset_is_one_however_often_it_is_logged(tracking: Tracking) -> None:
    one, two = tracking.new_run(), tracking.new_run()
    for run_id in (one, one, two):
        tracking(inputs.log_inputs, run_id, [dataset(), dataset("test", context="eval")], ["m-1", "m-1"])
    assert tracking.run(one).dataset_inputs == [dataset(), dataset("test", context="eval")]
    assert tracking.run(one).model_inputs == ["m-1"]
    found = tracking(inputs.summaries, [0])
    assert [(each.name, each.digest, each.context) for each in found] == [
        ("test", "d1", "eval"), ("train", "d1", "training")
    ]  # fmt: skip
    assert tracking(inputs.summaries, [99]) == []


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        (dataset("n" * 501), "datasets[0].dataset.name"), (dataset(digest="d" * 37), "datasets[0].dataset.digest"),
        (dataset(context="c" * 501), "datasets[0].tags[0].value"),
    ],
)  # fmt: skip
def test_datasets_have_limits(tracking: Tracking, wrong: DatasetInput, path: str) -> None:
    run_id = tracking.new_run()
    with pytest.raises(Invalid) as caught:
        tracking(inputs.log_inputs, run_id, [wrong])
    assert caught.value.path == path
    assert tracking.run(run_id).dataset_inputs == []


def test_a_model_lives_from_pending_to_deleted(tracking: Tracking) -> None:
    run_id = tracking.new_run()
    arguments = (0, "net", "Agent", run_id, [Param("p", "1")], [Tag("t", "1")])
    made: LoggedModel = tracking(models.create, *arguments)
    assert made == tracking.model(made.model_id)
    assert (made.status, made.name, made.source_run_id) == (ModelStatus.PENDING, "net", run_id)
    assert made.artifact_uri == f"mlflow-artifacts:/0/models/{made.model_id}/artifacts"
    assert tracking(models.finalize, made.model_id, ModelStatus.READY).status is ModelStatus.READY
    tracking(models.set_tags, made.model_id, [Tag("t", "2"), Tag("u", "3")])
    tracking(models.delete_tag, made.model_id, "u")
    tracking(models.log_params, made.model_id, [Param("p", "9"), Param("q", "2")])
    tracking(inputs.log_outputs, run_id, [ModelOutput(made.model_id, 3)])
    tracking(inputs.log_outputs, run_id, [ModelOutput(made.model_id, 5)])
    tracking(runs.log_metric, run_id, Metric("acc", float("nan"), 4, 2, made.model_id, "train", "d1"))
    found = tracking.model(made.model_id)
    assert (pairs(found.tags), pairs(found.params)) == ({"t": "2"}, {"p": "1", "q": "2"})
    assert [(each.key, each.step, each.dataset_name, each.run_id) for each in found.metrics] == [
        ("acc", 2, "train", run_id)
    ]
    assert tracking.run(run_id).model_outputs == [ModelOutput(made.model_id, 5)]
    tracking(models.delete_model, made.model_id)
    with pytest.raises(NotFound):
        tracking.model(made.model_id)
    assert not tracking(models.get, made.model_id, deleted=True).active


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "a%b", 'a"b', "a'b"])
def test_names_of_models_are_simple(tracking: Tracking, name: str) -> None:
    with pytest.raises(Invalid, match="cannot contain"):
        tracking(models.create, 0, name)


def test_models_of_old_clients_are_noted_in_a_tag(tracking: Tracking) -> None:
    run_id = tracking.new_run()
    first = {"artifact_path": "m", "flavors": {}, "utc_time_created": "t", "run_id": run_id}
    for path in ("m", "n"):
        tracking(runs.record_model, run_id, msgspec.json.encode(first | {"artifact_path": path}).decode())
    history = msgspec.json.decode(pairs(tracking.run(run_id).tags)[runs.MODEL_HISTORY_TAG])
    assert [each["artifact_path"] for each in history] == ["m", "n"]
    for text in ("", "[]", "{}", '{"artifact_path": "m"}', "{"):
        with pytest.raises(Invalid):
            tracking(runs.record_model, run_id, text)


# --- notes -------------------------------------------------------------------------------------------------------


def test_comments_come_and_go(tracking: Tracking) -> None:
    run_id, viewer = tracking.new_run(), Tracking(tracking.database, Caller("vi", roles={"default": Role.VIEWER}))
    mine = viewer(notes.add_comment, run_id, "**good** 好")
    yours = tracking(notes.add_comment, run_id, "thanks")
    assert viewer(notes.list_comments, run_id) == [mine, yours]
    with pytest.raises(Denied):
        viewer(notes.delete_comment, run_id, yours.id)
    viewer(notes.delete_comment, run_id, mine.id)
    tracking(notes.delete_comment, run_id, yours.id)
    with pytest.raises(NotFound):
        tracking(notes.delete_comment, run_id, yours.id)
    for text in ("", "  \n", "x" * 20_001):
        with pytest.raises(Invalid):
            tracking(notes.add_comment, run_id, text)


def test_views_are_saved_by_name(tracking: Tracking) -> None:
    tracking(notes.save_view, 0, "b", {"order": "x"})
    tracking(notes.save_view, 0, "a", {})
    tracking(notes.save_view, 0, "b", {"order": "y"})
    assert [(each.name, each.query) for each in tracking(notes.list_views, 0)] == [("a", {}), ("b", {"order": "y"})]
    tracking(notes.delete_view, 0, "b")
    assert [each.name for each in tracking(notes.list_views, 0)] == ["a"]


# --- events ------------------------------------------------------------------------------------------------------


def test_every_change_leaves_its_event(tracking: Tracking) -> None:
    number = tracking(experiments.create, "x")
    run_id = tracking.new_run(number, name="a")
    tracking(runs.log_param, run_id, Param("p", "1"))
    tracking(runs.log_param, run_id, Param("p", "1"))
    tracking(runs.set_tags, run_id, [Tag("t", "1")])
    tracking(runs.set_tags, run_id, [Tag("t", "2")])
    tracking(runs.delete_tag, run_id, "t")
    tracking(runs.log_metric, run_id, Metric("m", 1.0, 1))
    tracking(experiments.rename, number, "y")
    subject = f"run/{run_id}"
    assert tracking.log()[1:] == [
        ("tracking.run.created", subject, {"experiment": number, "name": "a", "tags": {runs.RUN_NAME_TAG: "a"}}),
        ("tracking.run.params_logged", subject, {"params": {"p": "1"}}),
        ("tracking.run.tags_set", subject, {"before": {"t": None}, "after": {"t": "1"}}),
        ("tracking.run.tags_set", subject, {"before": {"t": "1"}, "after": {"t": "2"}}),
        ("tracking.run.tag_deleted", subject, {"before": {"t": "2"}}),
        ("tracking.experiment.renamed", f"experiment/{number}", {"before": {"name": "x"}, "after": {"name": "y"}}),
    ]


def test_what_fails_leaves_no_event(tracking: Tracking) -> None:
    run_id = tracking.new_run()
    tracking(runs.log_param, run_id, Param("p", "1"))
    before = tracking.log()
    calls: list[tuple[Verb, tuple[Any, ...]]] = [
        (runs.log_param, (Param("p", "2"),)), (runs.delete_tag, ("none",)),
        (runs.log_batch, ([], [Param("q", "1"), Param("p", "2")], [])),
    ]  # fmt: skip
    for verb, arguments in calls:
        with pytest.raises(MlwrightError):
            tracking(verb, run_id, *arguments)
    assert tracking.log() == before


# --- who may do what ---------------------------------------------------------------------------------------------

ROLES = {
    "none": Caller("no"),
    "elsewhere": Caller("el", roles={"vision": Role.ADMIN}),
    "viewer": Caller("vi", roles={"default": Role.VIEWER}),
    "editor": Caller("ed", roles={"default": Role.EDITOR}),
    "admin": Caller("ad", roles={"default": Role.ADMIN}),
}
VIEW, EDIT = {"viewer", "editor", "admin"}, {"editor", "admin"}
#: A verb, what it is called with (from the things below), and who may.
VERBS: list[tuple[Callable[..., Any], Callable[[Any], tuple[Any, ...]], set[str]]] = [
    (experiments.get, lambda t: (t.experiment,), VIEW),
    (experiments.get_by_name, lambda t: ("mine",), VIEW),
    (experiments.create, lambda t: ("new",), EDIT),
    (experiments.rename, lambda t: (t.experiment, "other"), EDIT),
    (experiments.set_tag, lambda t: (t.experiment, Tag("a", "1")), EDIT),
    (experiments.delete_tag, lambda t: (t.experiment, "t"), EDIT),
    (experiments.delete_experiment, lambda t: (t.experiment,), EDIT),
    (experiments.restore, lambda t: (t.deleted_experiment,), EDIT),
    (runs.get, lambda t: (t.run,), VIEW),
    (runs.create, lambda t: (t.experiment,), EDIT),
    (runs.update_info, lambda t: (t.run, RunStatus.FAILED), EDIT),
    (runs.log_metric, lambda t: (t.run, Metric("a", 1.0, 1)), EDIT),
    (runs.log_param, lambda t: (t.run, Param("a", "1")), EDIT),
    (runs.set_tags, lambda t: (t.run, [Tag("a", "1")]), EDIT),
    (runs.delete_tag, lambda t: (t.run, "t"), EDIT),
    (runs.log_batch, lambda t: (t.run, [], [Param("a", "1")], []), EDIT),
    (runs.delete_run, lambda t: (t.run,), EDIT),
    (runs.restore, lambda t: (t.deleted_run,), EDIT),
    (inputs.log_inputs, lambda t: (t.run, [dataset()]), EDIT),
    (inputs.log_outputs, lambda t: (t.run, [ModelOutput("m", 1)]), EDIT),
    (models.get, lambda t: (t.model,), VIEW),
    (models.create, lambda t: (t.experiment, "net"), EDIT),
    (models.finalize, lambda t: (t.model, ModelStatus.READY), EDIT),
    (models.set_tags, lambda t: (t.model, [Tag("a", "1")]), EDIT),
    (models.log_params, lambda t: (t.model, [Param("a", "1")]), EDIT),
    (models.delete_model, lambda t: (t.model,), EDIT),
    (notes.list_comments, lambda t: (t.run,), VIEW),
    (notes.add_comment, lambda t: (t.run, "hi"), VIEW),
    (notes.list_views, lambda t: (t.experiment,), VIEW),
    (notes.save_view, lambda t: (t.experiment, "v", {}), EDIT),
    (notes.delete_view, lambda t: (t.experiment, "view"), EDIT),
]


class Things:
    """One of everything, for verbs to work on."""

    def __init__(self, tracking: Tracking) -> None:
        self.experiment = tracking(experiments.create, "mine", tags=[Tag("t", "secret")])
        self.deleted_experiment = tracking(experiments.create, "gone")
        tracking(experiments.delete_experiment, self.deleted_experiment)
        self.run = tracking.new_run(self.experiment, run_tags=[Tag("t", "secret")])
        self.deleted_run = tracking.new_run(self.experiment)
        tracking(runs.delete_run, self.deleted_run)
        self.model = tracking(models.create, self.experiment, "secret").model_id
        tracking(notes.save_view, self.experiment, "view", {})


@pytest.mark.parametrize("role", ROLES)
def test_each_verb_asks_for_its_role(tracking: Tracking, role: str) -> None:
    things = Things(tracking)
    before = tracking.log()
    for verb, arguments, allowed in VERBS:
        asked: dict[str, MlwrightError | None] = {}

        def work(tx: Any, verb: Any = verb, arguments: Any = arguments, asked: Any = asked) -> None:
            asked["error"] = None
            try:
                verb(tx, ROLES[role], *arguments(things))
            except MlwrightError as refused:
                asked["error"] = refused
            raise Conflict("undone")

        with pytest.raises(Conflict, match="undone"):
            tracking.database.write_now(work)
        error = asked["error"]
        name = f"{verb.__module__}.{verb.__name__} as {role}"
        if role in allowed:
            assert error is None, f"{name}: {error!r}"
        else:
            assert isinstance(error, (Denied, NotFound)), f"{name}: {error!r}"
            assert "secret" not in error.message
    assert tracking.log() == before


@pytest.mark.parametrize("role", ["none", "elsewhere"])
def test_lists_hold_nothing_for_those_without_a_role(tracking: Tracking, role: str) -> None:
    things, mine = Things(tracking), Tracking(tracking.database, ROLES[role])
    tracking(inputs.log_inputs, things.run, [dataset()])
    assert mine(experiments.list_all, ViewType.ALL) == []
    assert mine(experiments.readable, [things.experiment]) == []
    assert mine(inputs.summaries, [things.experiment]) == []


def test_every_verb_of_tracking_is_in_the_table() -> None:
    """A new verb that takes a caller must say who may use it."""
    import inspect

    tested = {verb for verb, _, _ in VERBS} | {
        experiments.list_all, experiments.readable, inputs.summaries, notes.delete_comment, models.delete_tag,
        runs.record_model, runs.find, runs.find_active, experiments.require_active,
    }  # fmt: skip
    for module in (experiments, runs, inputs, models, notes):
        for name, verb in vars(module).items():
            own = inspect.isfunction(verb) and verb.__module__ == module.__name__ and not name.startswith("_")
            if own and "caller" in inspect.signature(verb).parameters:
                assert verb in tested, f"{module.__name__}.{name} is not in VERBS"


def test_ids_grow_and_are_never_used_again(tracking: Tracking) -> None:
    from mlwright.tracking.tables import runs as table

    first = tracking.run(tracking.new_run()).info.row
    tracking.database.write_now(lambda tx: tx.change(table.delete()))
    assert tracking.database.read_now(lambda tx: tx.select(select(table.c.id))) == []
    assert tracking.run(tracking.new_run()).info.row == first + 1


def test_no_list_is_so_long_that_it_holds_up_all_writes(tracking: Tracking) -> None:
    run, model = tracking.new_run(), tracking(models.create, 0).model_id
    tags, params = [Tag(f"k{number}", "v") for number in range(10_001)], [Param("p", "v")] * 10_001
    outputs, data = [ModelOutput(f"m{number}", 0) for number in range(10_001)], [dataset()] * 10_001
    calls: list[tuple[Any, ...]] = [
        (experiments.create, "x", "", tags), (runs.create, 0, "", 1, "", tags), (models.create, 0, "", "", "", params),
        (models.create, 0, "", "", "", (), tags), (models.set_tags, model, tags), (models.log_params, model, params),
        (inputs.log_inputs, run, data), (inputs.log_inputs, run, (), ["m"] * 10_001),
        (inputs.log_outputs, run, outputs),
    ]  # fmt: skip
    for verb, *arguments in calls:
        with pytest.raises(Invalid, match="At most 10000"):
            tracking(verb, *arguments)
    tracking(experiments.create, "x", "", tags[:-1])
