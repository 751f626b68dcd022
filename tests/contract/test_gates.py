"""Gates on both databases: nothing leads to a version that has not shown what its policies ask for."""

import asyncio
import contextlib
import json
import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import ArtifactFile
from mlwright.compute import service as compute
from mlwright.compute.environments import Environments
from mlwright.compute.spec import Ending, Outcome
from mlwright.kernel import store
from mlwright.kernel.blobs import blob_of
from mlwright.kernel.clock import ManualClock
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Denied, GateClosed, Invalid, NotFound, StorageFull, Unavailable
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.kernel.resources import API_VERSION, Manifest, Metadata
from mlwright.registry.gate_runner import GateRunner
from mlwright.registry.gates.spec import Decision, GateVerdict, Standing
from mlwright.registry.service import aliases, gated, gates, releasing, renaming, versions
from mlwright.registry.service.evidence import Stored
from mlwright.registry.spec import Alias, ModelVersion, Stage
from mlwright.security import projects
from mlwright.security import service as security
from mlwright.security.spec import PrincipalKind
from tests.contract.conftest import PROJECT
from tests.contract.registry import FILES, Registry
from tests.unit.registry.test_gate_validation import table

PASSES: dict[str, Any] = {"name": "check", "command": {"command": [sys.executable, "-c", "print('fine')"]}}
FAILS: dict[str, Any] = {"name": "check", "command": {"command": [sys.executable, "-c", "raise SystemExit(3)"]}}


class InDatabase:
    """The files of these tests are all small."""

    def copy(self, file: ArtifactFile, target: Path) -> None:
        assert file.content is not None
        target.write_bytes(file.content)

    def store(self, data: bytes) -> Stored:
        return Stored(blob_of(data), data)


class Gates(Registry):
    """A registry with gates and somebody who runs them."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database)
        self.model()
        self.runner = GateRunner(database, InDatabase(), Environments(Path("not used")), folder)

    def policy(self, *asked: dict[str, Any], name: str = "production", project: str = "", **spec: object) -> None:
        body = {"gates": list(asked), "aliases": ["champion"], "stages": ["Production"], **spec}
        manifest = Manifest(API_VERSION, "GatePolicy", Metadata(name, project=project), body)
        self.database.write_now(lambda tx: store.apply(tx, LOCAL, gates.KIND, manifest))

    def run_all(self) -> None:
        while self.runner.run_one():
            continue

    def standings(self, version: ModelVersion) -> list[Standing]:
        return self.database.read_now(lambda tx: gates.standings(tx, version))

    def verdicts(self, version: ModelVersion) -> list[GateVerdict]:
        return [each.decision.verdict for each in self.standings(version)]

    def champion(self, version: ModelVersion, **named: Any) -> None:
        self(aliases.move, "m", "champion", version.version, **named)


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> Gates:
    return Gates(database, tmp_path / "gates")


def evaluated(skill: float, rows: int = 1_000) -> dict[str, bytes]:
    """A model with an evaluation beside it, which fits into the database."""
    columns = table(rows, 1, skill)
    lines = [",".join(columns), *(",".join(row) for row in zip(*columns.values(), strict=True))]
    return {**FILES, "model.pkl": str(skill).encode(), "evaluation.csv": "\n".join(lines).encode()}


BETTER = {
    "name": "quality",
    "validation": {
        "columns": {"score": "score", "key": "id"},
        "positive": "late",
        "thresholds": [{"metric": "roc_auc", "min": 0.6}],
        "noWorseThan": [{"metric": "roc_auc", "margin": 0.02}],
    },
}


def test_without_a_policy_nothing_is_guarded(registry: Gates) -> None:
    version = registry.register(registry.logged())
    registry.champion(version)
    assert registry.standings(version) == []
    assert not registry.runner.run_one()


def test_registration_has_the_gates_run_and_only_pass_opens(registry: Gates) -> None:
    registry.policy(PASSES)
    version = registry.register(registry.logged())
    with pytest.raises(GateClosed, match="production/check: it is waiting"):
        registry.champion(version)
    registry.run_all()
    assert registry.verdicts(version) == [GateVerdict.PASS]
    registry.champion(version)
    assert registry(aliases.lookup, "m", "champion").version == 1


def test_a_failed_gate_keeps_alias_and_stage_closed(registry: Gates) -> None:
    registry.policy(FAILS)
    version = registry.register(registry.logged())
    registry.run_all()
    with pytest.raises(GateClosed, match="exit status 3"):
        registry.champion(version)
    with pytest.raises(GateClosed, match="stage Production"):
        registry(versions.transition, "m", 1, Stage.PRODUCTION)
    registry(versions.transition, "m", 1, Stage.STAGING)
    registry(aliases.move, "m", "challenger", 1)


def test_no_alias_or_stage_gets_past_a_gate_under_another_name(registry: Gates) -> None:
    registry.policy(FAILS, models=["live*"])
    registry.register(registry.logged())
    registry(aliases.move, "m", "champion", 1)
    with pytest.raises(GateClosed, match=r"may not be @champion: production/check: inconclusive: it has not run"):
        registry(renaming.rename, "m", "live-one")
    registry(aliases.remove, "m", "champion")
    registry(versions.transition, "m", 1, Stage.PRODUCTION)
    with pytest.raises(GateClosed, match="in the stage Production"):
        registry(renaming.rename, "m", "live-one")
    registry(renaming.rename, "m", "other")
    registry(versions.transition, "other", 1, Stage.STAGING)
    registry(renaming.rename, "other", "live-one")
    registry(aliases.move, "live-one", "champion", 1, override="a test")
    assert registry(renaming.rename, "live-one", "live-two").aliases == [Alias("champion", 1)]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import time; time.sleep(60)", "longer than 3 s"),
        ("import os; os._exit(137)", "exit status 137"),
        ("import os\nwhile True: os.fork()", "processes"),
        ("x = b'1' * (1 << 30); import time; time.sleep(60)", "memory"),
        ("for n in range(9999): open(str(n), 'wb').write(bytes(1 << 20))", "more than 64 MiB into its folder"),
        ("import tempfile; tempfile.TemporaryFile().write(bytes(99 << 20))", "exit status 1"),
        ("import os\nwhile True: os.write(1, b'x' * (1 << 20))", "printed more than 64 MiB"),
    ],
)
def test_a_program_that_misbehaves_fails(registry: Gates, program: str, reason: str) -> None:
    asked = {"command": [sys.executable, "-c", program], "seconds": 3, "memoryMib": 200, "processes": 9, "diskMib": 64}
    registry.policy({"name": "wild", "command": asked})
    version = registry.register(registry.logged())
    registry.run_all()
    assert registry.verdicts(version) == [GateVerdict.FAIL]
    assert reason in registry.standings(version)[0].decision.reason


def test_a_program_sees_just_the_pinned_files(registry: Gates) -> None:
    program = "import os, json; print(json.dumps([open('model/MLmodel').read(), dict(os.environ)]))"
    registry.policy({"name": "look", "command": {"command": [sys.executable, "-c", program]}})
    folder = registry.logged()
    version = registry.register(folder)
    registry.write(f"{folder}/MLmodel", b"changed after registration")
    registry.run_all()
    description, environment = json.loads(registry.standings(version)[0].decision.output)
    assert description.encode() == FILES["MLmodel"]
    assert environment["MLWRIGHT_DIGEST"] == version.digest
    assert not [name for name in environment if "TOKEN" in name or "SECRET" in name]


def test_an_unsafe_model_is_refused_and_the_global_named(registry: Gates) -> None:
    registry.policy({"name": "scan", "security": {}}, PASSES)
    harmless = pickle.dumps({"weights": [1.0, 2.0]})
    good = registry.register(registry.logged({**FILES, "model.pkl": harmless}))
    bad = registry.register(registry.logged({**FILES, "model.pkl": b"cposix\nsystem\n(Vtrue\ntR."}))
    registry.run_all()
    assert registry.verdicts(good) == [GateVerdict.PASS, GateVerdict.PASS]
    assert registry.verdicts(bad) == [GateVerdict.FAIL, GateVerdict.INCONCLUSIVE]
    assert "posix.system" in registry.standings(bad)[0].decision.reason
    registry.champion(good)
    with pytest.raises(GateClosed, match="posix"):
        registry.champion(bad)


def test_what_is_not_pinned_passes_no_gate(registry: Gates) -> None:
    registry.policy(PASSES)
    version = registry.register("s3://bucket/model")
    registry.run_all()
    assert registry.verdicts(version) == [GateVerdict.INCONCLUSIVE]
    with pytest.raises(GateClosed, match="not kept here"):
        registry.champion(version)


def test_no_worse_than_the_champion_of_the_moment(registry: Gates) -> None:
    registry.policy(BETTER)
    first, worse, equal = (registry.register(registry.logged(evaluated(skill, 300))) for skill in (2.5, 0.5, 2.45))
    registry.run_all()
    registry.champion(first)
    with pytest.raises(GateClosed, match="not run for this version yet"):
        registry.champion(worse)  # it was compared with nothing: now there is a champion
    for version in (worse, equal):
        registry(gates.request, version)
    registry.run_all()
    with pytest.raises(GateClosed, match="roc_auc"):
        registry.champion(worse)
    registry.champion(equal)
    assert registry.standings(equal)[0].is_open


def test_answers_hold_for_a_digest_and_a_question(registry: Gates) -> None:
    registry.policy(PASSES)
    folder = registry.logged()
    first, same = registry.register(folder), registry.register(folder)
    registry.run_all()
    assert registry.verdicts(same) == registry.verdicts(first) == [GateVerdict.PASS]
    registry.write(f"{folder}/model.pkl", b"other weights")
    other = registry.register(folder)
    assert registry.standings(other)[0].state == "waiting"
    registry.policy({**PASSES, "command": {**PASSES["command"], "seconds": 99}})
    assert [registry.standings(each)[0].state for each in (first, same)] == ["missing", "missing"]
    with pytest.raises(GateClosed):
        registry.champion(first)


def test_answers_about_one_run_or_project_say_nothing_about_another(registry: Gates) -> None:
    """Evidence may be a file of the run: it is not in the digest."""
    registry.policy(PASSES)
    first = registry.register(registry.logged())
    registry.run_all()
    other = registry.register(registry.logged())
    assert other.digest == first.digest
    assert [registry.standings(each)[0].state for each in (first, other)] == ["done", "waiting"]
    registry.database.write_now(lambda tx: projects.create(tx, LOCAL, PROJECT, "prod"))
    registry.policy(PASSES, project="prod")
    there = registry(releasing.release, "m", first.version, "default", "prod").version
    assert registry.standings(there)[0].state == "waiting"
    registry.run_all()
    assert registry.standings(there)[0].is_open


def test_what_is_missing_runs_when_an_alias_is_to_move(registry: Gates) -> None:
    """The policy came after the version."""
    version = registry.register(registry.logged())
    registry.policy(PASSES)

    def move() -> None:
        work = lambda tx: aliases.move(tx, LOCAL, "m", "champion", version.version)  # noqa: E731
        asyncio.run(gated.attempt(registry.database, LOCAL, work))

    with pytest.raises(GateClosed, match="may not be @champion") as refused:
        move()
    assert "1 gate runs now" in str(refused.value.hint)
    with pytest.raises(GateClosed) as again:
        move()
    assert "now" not in str(again.value.hint)
    registry.run_all()
    move()
    registry.policy(FAILS)
    with pytest.raises(GateClosed, match="has not run"):
        move()
    registry.run_all()
    with pytest.raises(GateClosed, match="exit status 3") as failed:
        move()
    assert "now" not in str(failed.value.hint)


def test_after_one_that_is_not_passed_the_later_ones_do_not_run(registry: Gates, tmp_path: Path) -> None:
    program = f"open({str(tmp_path / 'ran')!r}, 'w')"
    registry.policy(FAILS, {"name": "later", "command": {"command": [sys.executable, "-c", program]}})
    version = registry.register(registry.logged())
    registry.run_all()
    assert registry.verdicts(version) == [GateVerdict.FAIL, GateVerdict.INCONCLUSIVE]
    assert not (tmp_path / "ran").exists()


def test_only_an_administrator_overrides_with_a_reason_on_the_record(registry: Gates) -> None:
    registry.policy(FAILS)
    version = registry.register(registry.logged())
    registry.run_all()
    editor = Caller("eve", roles={"default": Role.EDITOR})
    with pytest.raises(Denied):
        registry.database.write_now(lambda tx: aliases.move(tx, editor, "m", "champion", 1, override="I want to"))
    registry.champion(version, override="hotfix for the outage")
    event = next(data for kind, _, data in reversed(registry.log()) if kind == "registry.gate.overridden")
    assert event["reason"] == "hotfix for the outage"
    assert event["closed"][0]["gate"] == "check"


def test_only_administrators_change_policies(registry: Gates) -> None:
    editor = Caller("eve", roles={"default": Role.EDITOR})
    manifest = Manifest(API_VERSION, "GatePolicy", Metadata("mine"), {"gates": [PASSES]})
    with pytest.raises(Denied):
        registry.database.write_now(lambda tx: store.apply(tx, editor, gates.KIND, manifest))


# --- people -------------------------------------------------------------------------------------------------------


def approval(**asked: object) -> dict[str, Any]:
    return {"name": "lead", "approval": asked}


def say(registry: Gates, version: ModelVersion, who: str, *, yes: bool = True) -> Standing:
    caller = Caller(who, roles={"default": Role.VIEWER})
    return registry.database.write_now(
        lambda tx: gates.approve(tx, caller, version, "production", "lead", approves=yes, comment="why")
    )


def hire(registry: Gates, name: str, role: Role) -> Registry:
    """Somebody with an account and a role."""
    registry.database.write_now(lambda tx: security.create_principal(tx, LOCAL, name, PrincipalKind.USER))
    registry.database.write_now(lambda tx: security.grant(tx, LOCAL, "default", name, role.name.lower()))
    return Registry(registry.database, Caller(name, roles={"default": role}))


def test_people_approve(registry: Gates) -> None:
    registry.policy(approval(approvers=["ann", "bob", "cyd"], count=2))
    version = registry.register(registry.logged())
    assert not say(registry, version, "ann").is_open
    assert not say(registry, version, "ann").is_open  # twice is once
    with pytest.raises(GateClosed, match="1 of 2 approvals"):
        registry.champion(version)
    assert say(registry, version, "bob").is_open
    assert say(registry, version, "cyd", yes=False).decision.verdict is GateVerdict.FAIL
    with pytest.raises(GateClosed, match="rejected by cyd"):
        registry.champion(version)
    assert say(registry, version, "cyd").is_open
    registry.champion(version)


def test_a_group_approves(registry: Gates) -> None:
    """Two different people who hold a role, or a higher one."""
    registry.policy(approval(approvers=["role:editor", "zoe"], count=2))
    version = registry.register(registry.logged())
    roles = {"ann": Role.EDITOR, "bob": Role.ADMIN, "eve": Role.VIEWER, "zoe": Role.VIEWER}
    people = {name: hire(registry, name, role) for name, role in roles.items()}
    with pytest.raises(Denied, match="not among those"):
        people["eve"](gates.approve, version, "production", "lead", approves=True)
    for _ in range(2):
        people["ann"](gates.approve, version, "production", "lead", approves=True)
    assert not registry.standings(version)[0].is_open
    people["zoe"](gates.approve, version, "production", "lead", approves=True)
    assert registry.standings(version)[0].is_open
    people["bob"](gates.approve, version, "production", "lead", approves=False)
    assert not registry.standings(version)[0].is_open
    with pytest.raises(Invalid, match="there is no role 'owner'"):
        registry.policy(approval(approvers=["role:owner"]))


@pytest.mark.parametrize("asked", [{}, {"approvers": ["role:editor"]}])
def test_an_approval_ends_with_the_role_that_gave_it(registry: Gates, asked: dict[str, Any]) -> None:
    registry.policy(approval(**asked))
    version = registry.register(registry.logged())
    hire(registry, "ann", Role.ADMIN)(gates.approve, version, "production", "lead", approves=True)
    assert registry.standings(version)[0].is_open
    registry(security.grant, "default", "ann", "viewer")
    assert registry.standings(version)[0].decision.reason == "0 of 1 approvals"
    with pytest.raises(GateClosed, match="0 of 1 approvals"):
        registry.champion(version)
    registry(security.grant, "default", "ann", "admin")
    registry.champion(version)
    registry(security.change_principal, "ann", active=False)
    assert not registry.standings(version)[0].is_open


def test_approval_expires(registry: Gates) -> None:
    registry.policy(approval(approvers=["ann"], expiresHours=1))
    version = registry.register(registry.logged())
    assert say(registry, version, "ann").is_open
    assert isinstance(registry.database.clock, ManualClock)
    registry.database.clock.advance(3_600_001)
    with pytest.raises(GateClosed, match="0 of 1 approvals"):
        registry.champion(version)
    registry.new_run()  # something happens
    registry.database.clock.advance(-3_600_001)
    with pytest.raises(GateClosed, match="0 of 1 approvals"):
        registry.champion(version)
    assert say(registry, version, "ann").is_open  # though the clock says that it was said before the other


def test_who_may_not_approve(registry: Gates) -> None:
    registry.policy(approval(approvers=["ann", "local"]), PASSES)
    version = registry.register(registry.logged())
    for who in ("eve", "local"):  # not asked; and who registered it
        with pytest.raises(Denied):
            say(registry, version, who)
    with pytest.raises(Invalid):
        registry(gates.approve, version, "production", "check", approves=True)
    with pytest.raises(NotFound):
        registry(gates.approve, version, "production", "nothing", approves=True)
    registry.policy(approval())
    with pytest.raises(Denied):
        say(registry, version, "ann")  # without names, the project's administrators


def test_an_answer_may_count_for_a_while_only(registry: Gates) -> None:
    registry.policy(PASSES)
    version = registry.register(registry.logged())
    work = registry.database.write_now(lambda tx: gates.claim(tx, "mine"))
    assert work is not None
    now = registry.database.clock.now_ms()
    decision = Decision(GateVerdict.PASS, "until tomorrow", [], until_ms=now + 1_000)
    registry.database.write_now(lambda tx: gates.finish(tx, work, "mine", decision, {}))
    registry.champion(version)
    assert isinstance(registry.database.clock, ManualClock)
    registry.database.clock.advance(1_000)
    assert registry.standings(version)[0].state == "missing"
    with pytest.raises(GateClosed):
        registry.champion(version)
    assert registry(gates.request, version) == 1
    registry.run_all()
    registry.champion(version)


# --- what goes wrong ----------------------------------------------------------------------------------------------


def test_what_a_killed_server_was_running_runs_again(registry: Gates) -> None:
    registry.policy(PASSES)
    version = registry.register(registry.logged())
    work = registry.database.write_now(lambda tx: gates.claim(tx, "dead"))
    assert work is not None
    assert not registry.runner.run_one()  # it may be alive yet
    assert isinstance(registry.database.clock, ManualClock)
    registry.database.clock.advance(gates.LEASE_MS + 1)
    registry.run_all()
    assert registry.verdicts(version) == [GateVerdict.PASS]
    forged = Decision(GateVerdict.FAIL, "late", [])
    assert not registry.database.write_now(lambda tx: gates.finish(tx, work, "dead", forged, {}))
    assert registry.verdicts(version) == [GateVerdict.PASS]


def test_the_only_server_takes_up_at_once_what_it_left_behind(registry: Gates) -> None:
    registry.policy(PASSES)
    version = registry.register(registry.logged())
    registry.database.write_now(lambda tx: gates.claim(tx, "dead"))
    assert not registry.runner.run_one()
    registry.database.write_now(gates.abandon)
    registry.run_all()
    assert registry.verdicts(version) == [GateVerdict.PASS]


def test_what_one_server_left_behind_is_taken_up_and_nothing_of_others(registry: Gates) -> None:
    registry.policy(PASSES)
    version = registry.register(registry.logged())
    registry.database.write_now(lambda tx: gates.claim(tx, "other-1"))
    assert registry.database.read_now(gates.running) == {"other-1"}
    registry.database.write_now(lambda tx: gates.abandon_of(tx, ["another-1", "other-2"]))
    assert not registry.runner.run_one()
    registry.database.write_now(lambda tx: gates.abandon_of(tx, ["other-1"]))
    registry.run_all()
    assert registry.verdicts(version) == [GateVerdict.PASS]


def test_what_a_killed_server_was_running_runs_again_although_the_clock_was_moved_back(registry: Gates) -> None:
    assert isinstance(registry.database.clock, ManualClock)
    registry.policy(PASSES)
    version = registry.register(registry.logged())
    registry.database.write_now(lambda tx: gates.claim(tx, "dead"))
    registry.database.clock.advance(-86_400_000)
    registry.run_all()
    assert registry.verdicts(version) == [GateVerdict.PASS]


def test_a_version_that_is_gone_needs_no_answer(registry: Gates) -> None:
    registry.policy(PASSES)
    registry.register(registry.logged())
    registry(versions.delete_version, "m", 1)
    assert not registry.runner.run_one()


@given(
    failing=st.lists(st.booleans(), min_size=12, max_size=12), kind=st.sampled_from([OSError, ValueError, Unavailable])
)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_gate_is_passed_by_an_error(
    registry: Gates, monkeypatch: pytest.MonkeyPatch, failing: Sequence[bool], kind: Callable[[str], Exception]
) -> None:
    steps = iter(failing)
    failed = []

    def perhaps(work: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            if next(steps, False):
                failed.append(True)
                raise kind("random")
            return work(*arguments, **named)

        return step

    registry.policy(PASSES)
    version = registry.register(registry.logged({**FILES, "salt": bytes(failing) + kind.__name__.encode()}))
    with monkeypatch.context() as patched:
        patched.setattr(InDatabase, "copy", perhaps(InDatabase.copy))
        patched.setattr(artifacts, "inside", perhaps(artifacts.inside))
        patched.setattr(compute, "run", perhaps(compute.run))
        registry.run_all()
    assert registry.verdicts(version) == [GateVerdict.INCONCLUSIVE if failed else GateVerdict.PASS]


class DiedError(BaseException):
    """The server is killed: nothing of it goes on, and nothing cleans up."""


class Fate:
    """Decides at each step of a runner what goes wrong before or after it; in the end, nothing does."""

    def __init__(self, blows: Sequence[tuple[bool, type[BaseException] | None]]) -> None:
        self._blows = iter(blows)
        self.struck = 0

    def about(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            late, blow = next(self._blows, (False, None))
            if blow is not None:
                self.struck += 1
                if late:
                    work(*arguments, **named)
                raise blow("random")
            return work(*arguments, **named)

        return step


BLOWS = st.tuples(st.booleans(), st.sampled_from([None, None, None, OSError, ValueError, StorageFull, DiedError]))


@given(blows=st.lists(BLOWS, max_size=24), passes=st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_goes_wrong_or_dies_whenever_the_answer_is_true_and_comes(
    registry: Gates, tmp_path: Path, blows: Sequence[tuple[bool, type[BaseException] | None]], passes: bool
) -> None:
    """Also while it claims, reads, writes and commits: an error after a commit is one whose answer got lost."""
    fate, clock = Fate(blows), registry.database.clock
    assert isinstance(clock, ManualClock)
    registry.policy(PASSES if passes else FAILS)
    version = registry.register(registry.logged({**FILES, "salt": repr((blows, passes)).encode()}))
    program = Outcome(Ending.EXITED, 0 if passes else 3)
    true = {GateVerdict.PASS if passes else GateVerdict.FAIL, GateVerdict.INCONCLUSIVE}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compute, "run", fate.about(lambda *_, **__: program))
        patched.setattr(InDatabase, "copy", fate.about(InDatabase.copy))
        patched.setattr(InDatabase, "store", fate.about(InDatabase.store))
        patched.setattr(registry.database, "write_now", fate.about(registry.database.write_now))
        patched.setattr(registry.database, "read_now", fate.about(registry.database.read_now))
        for _ in range(len(blows) + 1):
            runner = GateRunner(registry.database, InDatabase(), Environments(Path("not used")), tmp_path / "gates")
            with contextlib.suppress(DiedError):
                while runner._tried():
                    continue
            clock.advance(gates.LEASE_MS + 1)
    assert set(registry.verdicts(version)) <= true
    assert registry.standings(version)[0].state == "done"
    if not fate.struck:
        assert registry.verdicts(version) != [GateVerdict.INCONCLUSIVE]
