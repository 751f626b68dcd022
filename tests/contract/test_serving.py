"""Endpoints on both databases: what is asked for gets its traffic by evidence, and loses it again."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from mlwright import __version__
from mlwright.artifacts.spec import ArtifactFile
from mlwright.compute.spec import Environment, Limits
from mlwright.kernel import store
from mlwright.kernel.clock import ManualClock
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Conflict, Denied, GateClosed, NoEnvironment, NotFound, Unavailable
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.kernel.lineage import Lineage
from mlwright.kernel.query import Query
from mlwright.kernel.resources import API_VERSION, Manifest, Metadata
from mlwright.registry.service import aliases, gates, models, versions
from mlwright.registry.service import graph as registry_graph
from mlwright.registry.service.loading import VersionLoader
from mlwright.registry.spec import ModelVersion
from mlwright.security import projects
from mlwright.serving.controller import ServingController
from mlwright.serving.host.counts import Tally
from mlwright.serving.host.state import Desired, Served
from mlwright.serving.preparing import Preparer
from mlwright.serving.service import deploying, endpoints, graph, keys, reading, rewards, rollouts
from mlwright.serving.service.desired import Place
from mlwright.serving.service.reading import EndpointDocument
from mlwright.serving.spec import EndpointRevision, RevisionState, RolloutState, Strategy, Traffic
from mlwright.tracking.service import graph as tracking_graph
from tests.contract.conftest import PROJECT
from tests.contract.registry import FILES, Registry

STEP_MS = 5_000


class Files:
    """The files of these tests are all small; one of them may be changed on its way."""

    def __init__(self) -> None:
        self.tampered = ""

    def copy(self, file: ArtifactFile, target: Path) -> None:
        assert file.content is not None
        target.write_bytes(file.content + (b" " if file.path.endswith(self.tampered or "/") else b""))


class Ready:
    """Environments that are there, or are not."""

    def __init__(self) -> None:
        self.problem: Exception | None = None

    @contextlib.contextmanager
    def ready(self, model: Path, limits: Limits) -> Iterator[Environment]:
        assert (model / "MLmodel").is_file()
        if self.problem is not None:
            raise self.problem
        yield Environment("/environments/one", "3.11.7", "", ["scikit-learn==1.8.0"])


class FakeHost:
    """Remembers what it was told, and has counted what tests say."""

    def __init__(self) -> None:
        self.is_running = False
        self.told: list[Desired] = []
        self.tallies: dict[tuple[str, int], Tally] = {}
        self.failures: dict[str, str] = {}
        self.tripped: dict[str, str] = {}
        self.identity, self.release = "first", __version__

    def start(self) -> None:
        self.is_running = True

    def stop(self) -> None:
        self.is_running = False

    def replace(self) -> None:
        self.identity, self.release = "new", __version__

    def serve(self, desired: Desired) -> dict[str, Any]:
        self.told.append(desired)
        return self.counts()

    def last(self) -> dict[str, Served]:
        return {each.name: each for each in self.told[-1].endpoints} if self.told else {}

    def served(self, name: str = "e") -> Served:
        return self.last()[name]

    def tally(self, number: int, name: str = "e") -> Tally:
        return self.tallies.setdefault((name, number), Tally())

    def counts(self) -> dict[str, Any]:
        found = [self._document(each) for each in self.last().values()]
        document = {
            "host": self.identity,
            "release": self.release,
            "generation": 0,
            "failures": self.failures,
            "endpoints": found,
        }
        copied: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
        return copied

    def _document(self, each: Served) -> dict[str, Any]:
        revisions = {
            str(revision.number): {**self.tally(revision.number, each.name).document(), "loaded": True}
            for revision in each.revisions
        }
        about = {"name": each.name, "project": each.project, "stable": each.stable, "tripped": self.tripped}
        return {**about, "revisions": revisions}


class World(Registry):
    """A registry, a controller, and a host that does nothing."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database)
        self.model()
        self.bytes, self.environments, self.host, self.folder = Files(), Ready(), FakeHost(), folder
        self.place = Place(open=True)
        self.controller = self.new_controller()

    def new_controller(self) -> ServingController:
        loader = VersionLoader(self.database, self.bytes)
        return ServingController(self.database, Preparer(loader, self.environments, self.folder), self.host, self.place)

    def version(self, weights: bytes = b"weights", alias: str = "champion") -> ModelVersion:
        found = self.register(self.logged({**FILES, "model.pkl": weights}))
        if alias:
            self(aliases.move, "m", alias, found.version)
        return found

    def endpoint(self, name: str = "e", model: str = "m@champion", project: str = "", **rollout: Any) -> None:
        spec = {"model": model, "rollout": rollout}
        manifest = Manifest(API_VERSION, "Endpoint", Metadata(name, project), spec)
        self.database.write_now(lambda tx: store.apply(tx, self.caller, endpoints.KIND, manifest))

    def settle(self) -> None:
        """Rounds until nothing is left to be done."""
        for _ in range(6):
            self.controller._round()
            wait([*self.controller._preparing.values(), *self.controller._pushing])

    def look(self, candidate: int = 0, good: int = 0, bad: int = 0, stable: int = 0) -> None:
        """Time goes on, and requests were answered."""
        traffic = self.document().traffic
        for number, count in ((candidate or traffic.candidate, good), (traffic.stable, stable)):
            for _ in range(count):
                self.host.tally(number).answered(0.001)
        for _ in range(bad):
            self.host.tally(candidate or traffic.candidate).failed(0.001)
        self.later(STEP_MS)
        self.settle()

    def later(self, milliseconds: int) -> None:
        assert isinstance(self.database.clock, ManualClock)
        self.database.clock.advance(milliseconds)

    def document(self, name: str = "e") -> EndpointDocument:
        found: EndpointDocument = self(reading.whole, name)
        return found

    def traffic(self) -> Traffic:
        return self.document().traffic

    def problem(self) -> str:
        return next(each.reason for each in self.document().conditions if each.type == "AsAsked")

    def deploy(self, **named: Any) -> EndpointRevision:
        found: EndpointRevision = self(deploying.deploy, "e", **named)
        return found


@pytest.fixture
def world(database: Database, tmp_path: Path) -> Iterator[World]:
    found = World(database, tmp_path / "models")
    yield found
    found.controller.close()


@pytest.fixture
def serving(world: World) -> World:
    """A first version serves; the second one is being rolled out."""
    world.version()
    world.endpoint()
    world.settle()
    world.version(b"better")
    world.settle()
    return world


def test_the_first_version_serves_at_once(world: World) -> None:
    version = world.version()
    world.endpoint()
    assert world.document().summary.phase == "Pending"
    world.settle()
    assert world.traffic() == Traffic(1, 0, 0.0)
    served = world.host.served()
    (revision,) = served.revisions
    assert (revision.model, revision.version, revision.loader) == ("m", 1, "sklearn")
    assert (Path(revision.folder) / "model.pkl").read_bytes() == b"weights"
    assert revision.digest == version.digest
    assert world.document().summary.phase == "Serving"
    assert world.problem() == "AsAsked"
    told = len(world.host.told)
    world.settle()
    assert len(world.host.told) == told  # nothing has changed
    assert world.deploy().number == 1  # it is there already


def test_a_canary_is_promoted_by_evidence_at_each_step(serving: World) -> None:
    shares = []
    for _ in range(3):
        shares.append(serving.host.served().share)
        serving.look(good=400, stable=1_000)
    assert shares == [0.05, 0.25, 0.5]
    assert serving.traffic() == Traffic(2, 0, 0.0)
    explained = serving(reading.explained, "e")
    assert explained.rollout.state is RolloutState.PROMOTED
    assert explained.replayed
    assert [each.judgement.verdict.value for each in explained.looks] == ["advance", "advance", "promote"]
    assert {each.number for each in serving.host.served().revisions} == {1, 2}  # going back takes no time


def test_a_worse_version_is_rolled_back_and_not_tried_again(serving: World) -> None:
    serving.look(good=40, stable=2_000)
    serving.look(good=20, bad=8, stable=1_000)
    assert serving.traffic() == Traffic(1, 0, 0.0)
    (rollout,) = serving(reading.rollout_list, "e")
    assert rollout.state is RolloutState.ROLLED_BACK
    assert rollout.reason == "it fails more often than the version that serves"
    serving.settle()
    assert serving.document().revisions[0].number == 2
    assert serving.deploy().number == 3  # somebody wants it to be tried again
    serving.settle()
    assert serving.traffic() == Traffic(1, 3, 0.05)


def test_what_the_host_has_stopped_is_rolled_back_before_the_next_look(serving: World) -> None:
    serving.host.tally(2).failed(0.1)
    serving.host.tripped = {"2": "its process ended 1 times"}
    serving.settle()
    assert serving.traffic() == Traffic(1, 0, 0.0)
    assert serving(reading.rollout_list, "e")[0].reason == "its process ended 1 times"
    assert serving(reading.explained, "e").replayed


def test_a_version_that_cannot_be_loaded_gets_no_traffic(serving: World) -> None:
    serving.host.failures = {"default/e/2": "ValueError: no such weights"}
    serving.settle()
    assert serving(reading.rollout_list, "e")[0].reason == "it cannot be loaded: ValueError: no such weights"
    assert serving.traffic().candidate == 0


def test_going_back_stays_until_something_else_is_asked_for(serving: World) -> None:
    serving(rollouts.abort, "e", "")
    with pytest.raises(Conflict, match="serves already"):
        serving(rollouts.rollback, "e", 1)
    serving.deploy()
    serving.settle()
    serving(rollouts.promote, "e", "in a hurry")
    assert serving.traffic().stable == 3
    serving(rollouts.rollback, "e")
    serving.settle()
    assert serving.host.served().stable == 1
    assert serving.document().summary.phase == "Serving"
    serving.version(b"third")
    serving.settle()
    assert serving.traffic() == Traffic(1, 4, 0.05)
    serving(rollouts.rollback, "e")  # ends the rollout that goes on
    assert serving.traffic() == Traffic(1, 0, 0.0)
    with pytest.raises(NotFound, match="no revision 9"):
        serving(rollouts.rollback, "e", 9)


def test_a_paused_rollout_gets_no_more_but_loses_all(serving: World) -> None:
    serving(rollouts.pause, "e")
    serving.look(good=1_000, stable=1_000)
    assert serving.traffic() == Traffic(1, 2, 0.05)
    serving(rollouts.resume, "e")
    serving.look(good=10, stable=10)
    assert serving.traffic().share == 0.25
    serving(rollouts.pause, "e")
    serving.look(bad=10)
    assert serving.traffic().candidate == 0


def test_without_evidence_in_time_it_is_held_and_says_what_is_missing(serving: World) -> None:
    serving.later(8_000_000)
    serving.look(good=1, stable=1)
    explained = serving(reading.explained, "e")
    assert explained.rollout.inconclusive
    assert "more good answers in this step" in explained.missing
    assert serving.traffic() == Traffic(1, 2, 0.05)


def test_a_newer_version_ends_the_rollout_of_the_one_before(serving: World) -> None:
    serving.version(b"even better")
    serving.settle()
    assert [each.state for each in serving(reading.rollout_list, "e")] == [
        RolloutState.RUNNING,
        RolloutState.SUPERSEDED,
    ]
    assert serving.traffic().candidate == 3


@pytest.mark.parametrize("strategy", [Strategy.BLUE_GREEN, Strategy.SHADOW, Strategy.AB, Strategy.BANDIT])
def test_other_ways_to_take_over(world: World, strategy: Strategy) -> None:
    world.version()
    world.endpoint(strategy=strategy.value)
    world.settle()
    world.version(b"other")
    world.settle()
    match strategy:
        case Strategy.BLUE_GREEN:
            assert world.traffic() == Traffic(2, 0, 0.0)
        case Strategy.SHADOW:
            assert (world.host.served().mirror, world.traffic().share) == (1.0, 0.0)
            world.host.tally(2).rows = 500
            world.look(good=500, stable=500)
            assert world.traffic() == Traffic(2, 0, 0.0)
        case Strategy.AB:
            world.look(good=2_000, stable=2_000)
            assert world.traffic() == Traffic(1, 2, 0.5)
        case _:
            for reward in [1.0] * 20:
                world(rewards.add, "e", 2, reward)
                world(rewards.add, "e", 1, 1 - reward)
            world.look(good=20, stable=20)
            assert world.traffic() == Traffic(1, 2, 0.95)
            with pytest.raises(NotFound, match="gets no requests"):
                world(rewards.add, "e", 9, 1.0)


def test_gates_are_passed_before_anything_is_served(world: World) -> None:
    policy = {"aliases": ["champion"], "gates": [{"name": "g", "command": {"command": ["false"]}}]}
    world.version()
    manifest = Manifest(API_VERSION, "GatePolicy", Metadata("p"), policy)
    world.database.write_now(lambda tx: store.apply(tx, LOCAL, gates.KIND, manifest))
    for model in ("m@champion", "m/1"):
        world.endpoint(model=model)
        world.settle()
        assert world.problem() == "GatesClosed"
        with pytest.raises(GateClosed, match="may not be served: p/g"):
            world.deploy()
    editor = Caller("ed", roles={"default": Role.EDITOR})
    with pytest.raises(Denied):
        world.database.write_now(lambda tx: deploying.deploy(tx, editor, "e", "", "I know better"))
    assert not world.host.told
    assert world.deploy(override="the gate is broken").overridden == "the gate is broken"
    world.settle()
    assert world.host.served().stable == 1


def test_changed_bytes_are_never_served(world: World) -> None:
    world.version()
    world.bytes.tampered = "model.pkl"
    world.endpoint()
    world.settle()
    (revision,) = world.document().revisions
    assert revision.state is RevisionState.FAILED
    assert "not those that were registered" in revision.reason
    assert world.problem() == "RevisionFailed"
    assert not world.host.told
    world.bytes.tampered = ""
    world.deploy()
    world.settle()
    folder = Path(world.host.served().revisions[0].folder)
    (folder / "model.pkl").write_bytes(b"evil")
    world.controller = world.new_controller()
    world.settle()
    assert (folder / "model.pkl").read_bytes() == b"weights"


def test_what_is_away_for_a_while_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlwright.serving.controller._TRY_AGAIN_S", 0.0)
    world.version()
    world.endpoint()
    world.environments.problem = Unavailable("no network")
    world.settle()
    assert world.document().revisions[0].state is RevisionState.PREPARING
    world.environments.problem = NoEnvironment("x cannot be installed")
    world.settle()
    assert world.document().revisions[0].reason == "x cannot be installed"


def test_an_alias_that_leads_nowhere_yet(world: World) -> None:
    world.endpoint()
    world.settle()
    assert world.problem() == "NoSuchVersion"
    world.version()
    world.settle()
    assert world.traffic().stable == 1


def test_another_control_plane_goes_on(serving: World) -> None:
    serving.look(good=400, stable=1_000)
    assert serving.traffic().share == 0.25
    told = serving.host.served()
    serving.controller = serving.new_controller()
    serving.controller._last = serving.host.last()
    serving.settle()
    assert serving.host.served() == told
    serving.host.identity = "second"  # and its counts begin at zero
    serving.host.tallies.clear()
    serving.look(good=400, stable=1_000)
    serving.look(good=400, stable=1_000)
    assert serving.traffic() == Traffic(2, 0, 0.0)
    assert serving(reading.explained, "e").replayed


def test_a_host_of_another_release_is_replaced(serving: World) -> None:
    serving.controller._renew()
    assert serving.host.identity == "first"
    serving.host.release = "0.0.9"
    serving.controller._renew()
    assert (serving.host.identity, serving.host.release) == ("new", __version__)


def test_names_are_taken_once_and_freed(serving: World) -> None:
    serving.database.write_now(lambda tx: projects.create(tx, LOCAL, PROJECT, "other", ""))
    with pytest.raises(Conflict, match="belongs to another project"):
        serving.endpoint(project="other")
    began_ms = serving(reading.began_ms, "e")
    serving.database.write_now(lambda tx: store.remove(tx, LOCAL, endpoints.KIND, "e"))
    serving.settle()
    assert serving.host.told[-1].endpoints == []
    serving.later(1_000)
    serving.endpoint(project="other")
    assert serving(reading.began_ms, "e", "other") > began_ms  # nobody reads what the one before was asked


def test_keys(serving: World) -> None:
    key = serving(keys.create, "e", "app")
    serving.settle()
    assert list(serving.host.served().keys) == ["app"]
    assert key not in msgspec.json.encode(serving.host.told[-1]).decode()
    with pytest.raises(Conflict):
        serving(keys.create, "e", "app")
    serving(keys.revoke, "e", "app")
    with pytest.raises(NotFound):
        serving(keys.revoke, "e", "app")
    serving.settle()
    assert serving.host.served().keys == {}


def test_from_other_machines_nobody_gets_in_without_a_key(serving: World) -> None:
    serving.place = Place(open=False, memory_mib=512)
    serving.controller = serving.new_controller()
    serving.settle()
    told = serving.host.told[-1]
    assert (told.endpoints[0].keys, told.metrics_keys, told.memory_mib) == ({"": ""}, {"": ""}, 512)
    serving(keys.create, "e", "app")
    serving.settle()
    told = serving.host.told[-1]
    assert list(told.endpoints[0].keys) == ["app"]
    assert told.metrics_keys == {"": ""}  # the endpoint's own key opens its part of them


def test_minutes_are_kept_for_charts(serving: World) -> None:
    serving.look(good=10, stable=30)
    for _ in range(13):
        serving.look(good=1, stable=1)
    found = serving(reading.minutes, "e", 0)
    assert {each.revision for each in found} == {1, 2}
    assert all(each.requests > 0 and 0.9 < each.p50_ms < 1.3 for each in found)


def test_a_notice_that_comes_before_a_round_is_heard_in_it(serving: World, monkeypatch: pytest.MonkeyPatch) -> None:
    controller = serving.controller
    rounds: list[bool] = []

    def tried(*, heard: bool) -> float:
        rounds.append(heard)
        return 0.01

    monkeypatch.setattr(controller, "_tried", tried)
    monkeypatch.setattr(controller, "_await_turn", lambda: controller._heard.set() if len(rounds) == 2 else None)
    controller.start()
    while len(rounds) < 4:
        controller._stopped.wait(0.01)
    controller.close()
    assert rounds[:4] == [True, False, True, False]


def test_a_round_that_failed_is_done_again_without_another_notice(
    serving: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = serving.controller
    looks: list[str] = []

    def consider() -> dict[int, object]:
        looks.append("look")
        if len(looks) == 1:
            raise Unavailable("the database is away")
        return {}

    monkeypatch.setattr(controller, "_consider", consider)
    controller._tried(heard=True)
    controller._read = controller._read._replace(at_s=time.monotonic() - 5)  # it is some seconds later
    controller._tried(heard=False)
    assert len(looks) == 2


def test_the_minute_that_has_begun_is_counted_when_the_platform_ends(serving: World) -> None:
    serving.controller.start()
    serving.host.tally(1).answered(0.001)
    serving.controller.close()
    assert [(each.revision, each.requests) for each in serving(reading.minutes, "e", 0)] == [(1, 1)]


def test_what_was_rolled_back_is_not_in_use(serving: World) -> None:
    graphs = (tracking_graph, registry_graph, graph)
    lineage = Lineage([kind for each in graphs for kind in each.KINDS], [hop for each in graphs for hop in each.HOPS])

    def used(version: int) -> set[str]:
        found = serving(lambda tx, caller: lineage.live(tx, caller, f"model-version/m/{version}"))
        return {node.id for node in found} & {"endpoint/e"}

    def relations(version: int) -> list[str]:
        found = serving(lambda tx, caller: lineage.graph(tx, caller, f"model-version/m/{version}"))
        return [edge.relation for edge in found.edges if edge.target == "endpoint/e"]

    assert (used(1), used(2)) == ({"endpoint/e"}, {"endpoint/e"})
    assert (relations(1), relations(2)) == (["serves"], ["serves"])
    serving(rollouts.abort, "e", "")
    assert (used(1), used(2)) == ({"endpoint/e"}, set())
    assert (relations(1), relations(2)) == (["serves"], ["served"])


def test_what_a_rollout_came_to_counts_only_while_it_goes_on(serving: World) -> None:
    """A host may say that a candidate is loaded after another rollout has begun."""
    stale = serving(reading.rollout_list, "e")[0]
    serving.version(b"third")
    serving.settle()
    newer = serving.traffic()
    serving.controller._write(stale, rollouts.loaded)
    serving.controller._write(stale, lambda tx, now, current: rollouts.not_loaded(tx, now, current, "it is late"))
    assert serving.traffic() == newer == Traffic(1, 3, 0.05)
    assert serving(reading.rollout_list, "e")[1].state is RolloutState.SUPERSEDED


def test_asking_for_what_serves_gives_up_what_was_to_take_over(serving: World) -> None:
    serving(aliases.move, "m", "champion", 1)
    serving.settle()
    assert serving.traffic() == Traffic(1, 0, 0.0)
    assert serving(reading.rollout_list, "e")[0].state is RolloutState.SUPERSEDED
    assert serving.document().revisions[0].number == 2  # no revision of what is there already
    serving.environments.problem = Unavailable("no network")
    serving.version(b"third")
    serving.settle()
    serving(aliases.move, "m", "champion", 1)
    serving.settle()
    serving.environments.problem = None
    assert serving.deploy().number == 1
    serving.settle()
    assert serving.traffic() == Traffic(1, 0, 0.0)


def test_what_is_served_cannot_be_deleted(serving: World) -> None:
    for delete, number in ((versions.delete_version, 1), (versions.delete_version, 2)):
        with pytest.raises(Conflict, match="is needed by endpoint/e"):
            serving(delete, "m", number)
    with pytest.raises(Conflict, match="is needed by endpoint/e"):
        serving(models.delete_model, "m")
    serving(rollouts.abort, "e", "")
    serving(versions.delete_version, "m", 2)
    serving.database.write_now(lambda tx: store.remove(tx, LOCAL, endpoints.KIND, "e"))
    serving(models.delete_model, "m")


def test_a_spec_of_another_release_keeps_only_its_endpoint_as_it_is(serving: World) -> None:
    before = serving.host.served()
    spoilt = Query(text("UPDATE resources SET spec = '{\"model\": 7}' WHERE kind = 'Endpoint'"))
    serving.database.write_now(lambda tx: tx.run(spoilt))
    serving.endpoint("other")
    serving.settle()
    assert serving.host.last()["other"].stable == 1
    assert serving.host.served() == before
    assert {each.name for each in serving(reading.listed)} == {"e", "other"}


def test_numbers_that_were_broken_are_told(serving: World) -> None:
    serving.look(good=10, stable=10)
    broken = Query(text("UPDATE rollout_looks SET look = '{'"))
    serving.database.write_now(lambda tx: tx.run(broken))
    with pytest.raises(Conflict, match="were changed"):
        serving(reading.explained, "e")
