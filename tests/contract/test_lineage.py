"""Lineage on both databases: what came from what, over tracking and the registry, as far as the caller may see it."""

import random
from collections import defaultdict

import pytest

from mlwright.kernel import store
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.kernel.lineage import Direction, Lineage, LineageGraph
from mlwright.kernel.resources import API_VERSION, Manifest, Metadata
from mlwright.registry.service import aliases, gates, releasing, versions
from mlwright.registry.service import graph as registry_graph
from mlwright.registry.spec import ModelVersion, Stage
from mlwright.security import projects
from mlwright.tracking.service import experiments, inputs
from mlwright.tracking.service import graph as tracking_graph
from mlwright.tracking.service import models as logged_models
from mlwright.tracking.spec import Dataset, DatasetInput, ModelOutput
from tests.contract.conftest import PROJECT
from tests.contract.registry import Registry

LINEAGE = Lineage([*tracking_graph.KINDS, *registry_graph.KINDS], [*tracking_graph.HOPS, *registry_graph.HOPS])


class Graph(Registry):
    """Things with a history."""

    def graph(self, subject: str, direction: Direction = Direction.BOTH, **named: int) -> LineageGraph:
        return self.database.read_now(lambda tx: LINEAGE.graph(tx, self.caller, subject, direction, **named))

    def ids(self, subject: str, direction: Direction = Direction.BOTH) -> set[str]:
        return {node.id for node in self.graph(subject, direction).nodes}

    def live(self, subject: str) -> list[str]:
        return [node.id for node in self.database.read_now(lambda tx: LINEAGE.live(tx, self.caller, subject))]

    def read(self, run_id: str, name: str = "rows", digest: str = "1", *used: str) -> None:
        data = DatasetInput(Dataset(name, digest, "local", "rows.csv"), [])
        self(inputs.log_inputs, run_id, [data] if name else [], list(used))

    def logged_model(self, run_id: str, *, by_output: bool = False, experiment: int = 0) -> str:
        model_id: str = self(logged_models.create, experiment, source_run_id="" if by_output else run_id).model_id
        if by_output:
            self(inputs.log_outputs, run_id, [ModelOutput(model_id, 0)])
        return model_id

    def version_of(self, model_id: str, name: str = "m") -> ModelVersion:
        return self.register(f"models:/{model_id}", name, model_id=model_id)


@pytest.fixture
def graph(database: Database) -> Graph:
    found = Graph(database)
    found.model()
    return found


def edges(found: LineageGraph) -> list[tuple[str, str, str]]:
    return [(edge.source, edge.relation, edge.target) for edge in found.edges]


def test_from_the_data_to_the_gates(graph: Graph) -> None:
    spec = {"gates": [{"name": "scan", "security": {}}, {"name": "lead", "approval": {"notRequester": False}}]}
    policy = Manifest(API_VERSION, "GatePolicy", Metadata("live"), spec)
    graph.database.write_now(lambda tx: store.apply(tx, LOCAL, gates.KIND, policy))
    run = graph.new_run()
    graph.read(run)
    model = graph.logged_model(run)
    version = graph.version_of(model)
    graph(gates.approve, version, "live", "lead", approves=True)
    graph(aliases.move, "m", "best", 1)
    chain = [
        ("dataset/rows@1", "read", f"run/{run}"),
        (f"model/{model}", "registered", "model-version/m/1"),
        ("model-version/m/1", "approved", "approval/m/1/live/lead/local"),
        ("model-version/m/1", "decided", "gate/m/1/live/scan"),
        (f"run/{run}", "logged", f"model/{model}"),
    ]
    for subject in ("dataset/rows", "dataset/rows@1", f"run/{run}", f"model/{model}", "model-version/m/1"):
        assert edges(graph.graph(subject)) == sorted(chain)
    found = {node.id: node for node in graph.graph("model-version/m@best").nodes}
    assert graph.graph("model-version/m@best").subject == "model-version/m/1"
    assert found["model-version/m/1"].facts["aliases"] == ["best"]
    assert found["gate/m/1/live/scan"].facts == {"verdict": "waiting"}
    assert found["approval/m/1/live/lead/local"].facts["verdict"] == "approved"
    assert found["dataset/rows@1"].facts == {"digest": "1", "source": "rows.csv"}
    assert found[f"run/{run}"].facts["status"] == "RUNNING"


def test_up_and_down_are_not_what_else_came_from_the_same(graph: Graph) -> None:
    first, second = graph.new_run(), graph.new_run()
    for run in (first, second):
        graph.read(run)
    model = graph.logged_model(first, by_output=True)
    assert graph.ids(f"run/{first}") == {"dataset/rows@1", f"run/{first}", f"model/{model}"}
    assert graph.ids(f"run/{first}", Direction.UP) == {"dataset/rows@1", f"run/{first}"}
    assert graph.ids(f"run/{first}", Direction.DOWN) == {f"run/{first}", f"model/{model}"}
    assert graph.ids("dataset/rows", Direction.DOWN) == {
        "dataset/rows@1", f"run/{first}", f"run/{second}", f"model/{model}",
    }  # fmt: skip


def test_equal_data_of_two_experiments_are_one(graph: Graph) -> None:
    other = graph(experiments.create, "other")
    first, second = graph.new_run(), graph.new_run(other)
    for run in (first, second):
        graph.read(run)
        graph.read(run, "rows", "2")
    found = graph.graph("dataset/rows@1", Direction.DOWN)
    assert {node.id for node in found.nodes} == {"dataset/rows@1", f"run/{first}", f"run/{second}"}
    assert graph.ids("dataset/rows", Direction.DOWN) >= {"dataset/rows@1", "dataset/rows@2"}


def test_a_name_with_an_at_sign(graph: Graph) -> None:
    run = graph.new_run()
    graph.read(run, "s3@eu", "7")
    assert graph.ids("dataset/s3@eu") == graph.ids("dataset/s3@eu@7") == {"dataset/s3@eu@7", f"run/{run}"}


def test_versions_of_runs_and_the_cycle_of_a_model_that_its_run_used(graph: Graph) -> None:
    folder = graph.logged()
    version = graph.register(folder)
    assert graph.ids("model-version/m/1") == {f"run/{graph.run_id}", "model-version/m/1"}
    model = graph.logged_model(graph.run_id)
    graph.read(graph.run_id, "", "", model)
    assert graph.ids(f"model/{model}") == {f"model/{model}", f"run/{graph.run_id}", "model-version/m/1"}
    assert version.run_id == graph.run_id


def test_what_is_in_use(graph: Graph) -> None:
    run = graph.new_run()
    graph.read(run)
    model = graph.logged_model(run)
    for _ in range(4):
        graph.version_of(model)
    assert graph.live("dataset/rows") == []
    graph(aliases.move, "m", "champion", 2)
    graph(versions.transition, "m", 3, Stage.PRODUCTION)
    graph(versions.transition, "m", 4, Stage.STAGING)
    live = ["model-version/m/2", "model-version/m/3"]
    assert graph.live("dataset/rows") == graph.live(f"run/{run}") == graph.live(f"model/{model}") == live
    assert graph.live("model-version/m/2") == ["model-version/m/2"]
    assert graph.live(f"run/{graph.new_run()}") == []


def test_nothing_is_shown_of_projects_that_the_caller_may_not_see(graph: Graph) -> None:
    graph.database.write_now(lambda tx: projects.create(tx, LOCAL, PROJECT, "vision"))
    secret = graph(experiments.create, "secret", project="vision")
    mine, theirs = graph.new_run(), graph.new_run(secret)
    for run in (mine, theirs):
        graph.read(run)
    model = graph.logged_model(theirs, experiment=secret)
    graph.read(mine, "", "", model)
    viewer = Graph(graph.database, Caller("ann", roles={"default": Role.VIEWER}))
    assert viewer.ids("dataset/rows") == {"dataset/rows@1", f"run/{mine}"}
    assert viewer.ids(f"run/{mine}") == {"dataset/rows@1", f"run/{mine}"}
    for subject in (f"run/{theirs}", f"model/{model}", "dataset/other"):
        with pytest.raises(NotFound):
            viewer.graph(subject)
    assert graph.ids(f"run/{mine}") == {"dataset/rows@1", f"run/{mine}", f"model/{model}", f"run/{theirs}"}


def test_a_long_list_is_cut(graph: Graph) -> None:
    for _ in range(12):
        graph.read(graph.new_run())
    found = graph.graph("dataset/rows", Direction.DOWN, limit=5)
    assert (len(found.nodes), len(found.edges), found.truncated) == (5, 4, True)
    whole = graph.graph("dataset/rows", Direction.DOWN, limit=13)
    assert (len(whole.nodes), whole.truncated) == (13, False)


@pytest.mark.parametrize("subject", ["", "run", "run/", "nothing/x", "gate/m/1/p/g", "approval/m/1/p/g/ann"])
def test_what_is_no_subject_is_refused(graph: Graph, subject: str) -> None:
    with pytest.raises(Invalid):
        graph.graph(subject)


@pytest.mark.parametrize("subject", ["run/x", "model/m-1", "model-version/m/9", "model-version/m@no", "dataset/no@1"])
def test_what_does_not_exist_is_not_found(graph: Graph, subject: str) -> None:
    with pytest.raises((NotFound, Invalid)):
        graph.graph(subject)


def test_random_graphs_are_walked_as_sets_are(graph: Graph) -> None:
    """Every node's ancestors and descendants, against plain reachability."""
    dice = random.Random(7)
    below: dict[str, set[str]] = defaultdict(set)
    known: list[str] = []
    for number in range(14):
        run = graph.new_run()
        used = dice.sample(known, min(len(known), dice.randrange(3)))
        for name in {f"d{dice.randrange(4)}" for _ in range(2)}:
            graph.read(run, name, "1", *used)
            below[f"dataset/{name}@1"].add(f"run/{run}")
        for model in used:
            below[f"model/{model}"].add(f"run/{run}")
        for _ in range(dice.randrange(3)):
            model = graph.logged_model(run, by_output=bool(number % 2))
            below[f"run/{run}"].add(f"model/{model}")
            known.append(model)
            if dice.random() < 0.5:
                version = graph.version_of(model)
                below[f"model/{model}"].add(f"model-version/m/{version.version}")
    above: dict[str, set[str]] = defaultdict(set)
    for source, targets in below.items():
        for target in targets:
            above[target].add(source)
    for subject in {*below, *above}:
        assert graph.ids(subject, Direction.DOWN) == reachable(subject, below)
        assert graph.ids(subject, Direction.UP) == reachable(subject, above)


def reachable(start: str, steps: dict[str, set[str]]) -> set[str]:
    found, frontier = {start}, [start]
    while frontier:
        fresh = {each for subject in frontier for each in steps.get(subject, ())} - found
        found |= fresh
        frontier = sorted(fresh)
    return found


def test_releases_lead_from_version_to_version_and_back(graph: Graph) -> None:
    for project in ("staging", "prod"):
        graph.database.write_now(lambda tx, project=project: projects.create(tx, LOCAL, PROJECT, project))  # type: ignore[misc]
    graph.register(graph.logged())
    made = f"run/{graph.run_id}"
    graph(releasing.release, "m", 1, "default", "staging")
    graph(releasing.release, "m", 1, "staging", "prod", "other")
    staged, last = "model-version/m/1?project=staging", "model-version/other/1?project=prod"
    chain = [("model-version/m/1", "copied", staged), (staged, "copied", last)]
    assert edges(graph.graph("model-version/m/1", Direction.DOWN)) == chain
    assert (made, "registered", last) in edges(graph.graph(last))
    for subject in ("model-version/m/1", staged, last):
        assert set(chain) <= set(edges(graph.graph(subject)))
    graph(aliases.move, "other", "live", 1, project="prod")
    assert graph.live("model-version/m/1") == [last]
    ann = Caller("ann", roles={"default": Role.VIEWER, "prod": Role.VIEWER}, project="prod")
    assert Graph(graph.database, ann).ids("model-version/other/1") == {"model-version/other/1", made}
    graph(versions.delete_version, "m", 1, project="staging")
    assert edges(graph.graph(last)) == [(made, "registered", last)]
