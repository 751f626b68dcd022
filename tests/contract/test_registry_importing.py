"""Moving a registry in on both databases: numbers with holes stay, files are pinned, and no gate is gone around."""

from functools import partial

import msgspec
import pytest

from mlwright.kernel import store
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Conflict, Denied, Invalid
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.kernel.resources import API_VERSION, Manifest, Metadata
from mlwright.kernel.transaction import Tx
from mlwright.registry.ports import MovedRegisteredModel, MovedVersion
from mlwright.registry.service import aliases, gates, importing, models, versions
from mlwright.registry.service.importing import ImportedAliases, ImportedVersion, Moving
from mlwright.registry.service.registration import Description
from mlwright.registry.spec import ModelVersion, Stage
from mlwright.security import projects
from tests.contract.conftest import PROJECT
from tests.contract.registry import FILES, Registry

MOVED = MovedRegisteredModel("m", "words", 5, 9, {"team": "red"})


class Target(Registry):
    """A registry that another one is moved into, and the run whose files the versions are."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.logged()
        self.source = f"mlflow-artifacts:/7/{self.run_id}/artifacts/model"
        self(importing.import_model, MOVED)

    def version(self, number: int, moving: Moving = Moving(), **named: object) -> ImportedVersion:  # noqa: B008
        moved = MovedVersion(
            number, self.source, "", self.run_id, "", "", "v", "ada", Stage.NONE, 6, 7, {"checked": "yes"}
        )
        moved = msgspec.structs.replace(moved, **named)
        found: ImportedVersion = self(importing.import_version, "m", moved, Description(), moving)
        return found

    def aliases(self, moving: Moving = Moving(), **leads: int) -> ImportedAliases:  # noqa: B008
        found: ImportedAliases = self(importing.import_aliases, "m", leads, 9, moving)
        return found

    def get(self, number: int) -> ModelVersion:
        found: ModelVersion = self(versions.get, "m", number)
        return found

    def guarded(self) -> None:
        spec = {"gates": [{"name": "people", "approval": {"approvers": ["ann"]}}]}
        body = {**spec, "aliases": ["champion"], "stages": ["Production"]}
        manifest = Manifest(API_VERSION, "GatePolicy", Metadata("production"), body)
        self.database.write_now(lambda tx: store.apply(tx, LOCAL, gates.KIND, manifest))


@pytest.fixture
def target(database: Database) -> Target:
    return Target(database)


def test_a_version_keeps_what_it_had_and_its_files_are_pinned(target: Target) -> None:
    done = target.version(3, Moving("http://old"), stage=Stage.ARCHIVED)
    found = target.get(3)
    assert (done.created, done.digest, done.origin, done.folder) == (
        True,
        found.digest,
        f"runs/{target.run_id}",
        "model",
    )
    assert (found.author, found.created_ms, found.updated_ms, found.stage) == ("ada", 6, 7, Stage.ARCHIVED)
    assert (found.source, found.tags, found.description) == (target.source, {"checked": "yes"}, "v")
    assert (target.files(found), found.facts.python) == (FILES, "3.11.9")
    model = target(models.get, "m")
    assert (model.created_ms, model.last_version, model.tags) == (5, 3, {"team": "red"})
    event = next(data for kind, _, data in target.log() if kind == "registry.version.imported")
    assert (event["origin"], event["author"], event["digest"]) == ("http://old", "ada", found.digest)


def test_later_versions_count_on_from_the_highest(target: Target) -> None:
    target.version(2)
    target.version(5)
    folder = target.logged()
    assert target.register(folder).version == 6
    assert target(models.get, "m").last_version == 6


def test_again_changes_nothing_but_what_differs(target: Target) -> None:
    target.version(1)
    assert target.aliases(old=1) == ImportedAliases(["old"], [])
    before = target.log()
    assert target.version(1).changed == []
    assert target.aliases(old=1) == ImportedAliases([], [])
    assert target(importing.import_model, MOVED).changed == []
    assert target.log() == before
    target(versions.set_tag, "m", 1, "ours", "kept")
    target(versions.describe, "m", 1, "changed here")
    assert target.version(1, stage=Stage.STAGING).changed == ["info", "stage"]
    found = target.get(1)
    assert (found.description, found.tags["ours"], found.stage, found.updated_ms) == ("v", "kept", Stage.STAGING, 7)


def test_a_dry_run_only_says_what_would_change(target: Target) -> None:
    before = target.log()
    assert target.version(1, Moving(dry=True)).created
    assert target(importing.import_model, msgspec.structs.replace(MOVED, description="x"), dry=True).changed == ["info"]
    target.version(1)
    assert target.aliases(Moving(dry=True), a=1).changed == ["a"]
    assert target(models.get, "m").aliases == []
    assert [kind for kind, *_ in target.log()[len(before) :]] == ["registry.version.imported"]


def test_what_was_deleted_here_stays_so(target: Target) -> None:
    target.version(1)
    target.version(2)
    target(versions.delete_version, "m", 2)
    assert target.version(2).deleted
    assert target.aliases(a=2).skipped == ["@a does not lead to m/2: there is no such version here"]


def test_another_model_or_version_of_the_name_is_never_mixed_in(target: Target) -> None:
    target.register(target.logged())
    assert target.version(1).skipped == ["m/1: another version has this number here"]
    target.model("taken")
    with pytest.raises(Conflict, match="another registered model called 'taken'"):
        target(importing.import_model, msgspec.structs.replace(MOVED, name="taken"))
    assert target(importing.import_model, msgspec.structs.replace(MOVED, name="taken"), "old ").name == "old taken"


@pytest.mark.parametrize(
    ("source", "storage"),
    [
        ("s3://bucket/model", "s3://bucket/model"),
        ("file:///etc", "mlflow-artifacts:/registry/1/1"),
        ("/root/.ssh", "mlflow-artifacts:/registry/1/1"),
        ("mlflow-artifacts:/0/secret", "mlflow-artifacts:/registry/1/1"),
        (f"runs:/{'0' * 32}/model", "mlflow-artifacts:/registry/1/1"),
        (f"models:/m-{'0' * 32}", "mlflow-artifacts:/registry/1/1"),
    ],
)
def test_files_that_are_not_here_lead_nobody_astray(target: Target, source: str, storage: str) -> None:
    done = target.version(1, source=source, run_id="")
    assert (done.created, done.digest, done.origin) == (True, None, "")
    found = target.get(1)
    assert (found.source, found.storage) == (source, storage)


def test_files_of_a_run_that_nobody_shows_are_not_pinned(target: Target) -> None:
    target.database.write_now(lambda tx: projects.create(tx, LOCAL, PROJECT, "elsewhere"))
    eve = Caller("eve", roles={"elsewhere": Role.EDITOR}, project="elsewhere")
    moved = MovedVersion(1, target.source)

    def move(tx: Tx) -> ImportedVersion:
        importing.import_model(tx, eve, MOVED)
        return importing.import_version(tx, eve, "m", moved, Description(), Moving())

    done = target.database.write_now(move)
    assert (done.created, done.digest, done.origin) == (True, None, "")


def test_no_gate_is_gone_around(target: Target) -> None:
    target.guarded()
    done = target.version(1, stage=Stage.PRODUCTION)
    assert done.created
    assert "production/people" in done.skipped[0]
    assert target.get(1).stage is Stage.NONE
    moved = target.aliases(champion=1, other=1)
    assert moved.changed == ["other"]
    assert "may not be @champion" in moved.skipped[0]
    assert [each.alias for each in target(models.get, "m").aliases] == ["other"]
    again = target.version(1, stage=Stage.PRODUCTION)
    assert (again.changed, len(again.skipped)) == (["stage"], 1)
    reason = Moving(override="it ran there for a year")
    assert target.aliases(reason, champion=1) == ImportedAliases(["champion"], [])
    assert target.version(1, reason, stage=Stage.PRODUCTION).skipped == []
    assert target.get(1).stage is Stage.PRODUCTION
    kinds = [kind for kind, *_ in target.log()]
    assert kinds.count("registry.gate.overridden") == 2


def test_only_administrators_override_and_only_editors_move_in(target: Target) -> None:
    target.guarded()
    target.version(1)
    for role, override in ((Role.VIEWER, ""), (Role.EDITOR, "because")):
        eve, moving = Caller("eve", roles={"default": role}, project="default"), Moving(override=override)
        move = partial(importing.import_aliases, caller=eve, name="m", moved={"champion": 1}, updated_ms=0)
        with pytest.raises(Denied):
            target.database.write_now(partial(move, moving=moving))
    assert target.database.read_now(lambda tx: aliases.lookup(tx, LOCAL, "m", "latest")).version == 1


@pytest.mark.parametrize("bad", [{"number": 0}, {"number": -1}, {"number": 2**63}])
def test_impossible_numbers_are_refused(target: Target, bad: dict[str, int]) -> None:
    with pytest.raises(Invalid):
        target.version(bad["number"])
    with pytest.raises(Invalid):
        target.version(1, created_ms=-1)
