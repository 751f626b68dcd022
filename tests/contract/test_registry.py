"""The verbs of the model registry on both databases: what is registered stays, and everything else may move."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import SMALL_BYTES, ArtifactFile
from mlwright.kernel.blobs import blob_of
from mlwright.kernel.database import Database
from mlwright.kernel.errors import AlreadyExists, Conflict, Denied, Immutable, Invalid, NotFound
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.registry import search
from mlwright.registry.service import aliases, models, pinning, registration, renaming, rows, versions
from mlwright.registry.service.registration import Description, UnreadError
from mlwright.registry.spec import Alias, CodeState, NewVersion, PinnedFile, Stage, UsedDataset
from mlwright.security import projects
from mlwright.tracking.service import experiments, inputs, purge, runs
from mlwright.tracking.service import models as logged_models
from mlwright.tracking.spec import Dataset, DatasetInput, LoggedModel, Tag
from tests.contract.conftest import PROJECT
from tests.contract.registry import FILES, OWNERS, Registry


@pytest.fixture
def registry(database: Database) -> Registry:
    found = Registry(database)
    found.model()
    return found


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


# --- what a version pins -----------------------------------------------------------------------------------------


def test_a_version_is_a_list_of_digests(registry: Registry) -> None:
    version = registry.register(registry.logged())
    lines = "".join(f"{digest(FILES[path])} {len(FILES[path])} {path}\n" for path in sorted(FILES))
    assert version.digest == digest(lines.encode())
    assert (version.version, version.files, version.size) == (1, 3, sum(map(len, FILES.values())))
    assert registry.files(version) == FILES
    assert registry(versions.get, "m", 1) == version


def test_a_version_stays_whatever_happens_to_its_run(registry: Registry) -> None:
    folder = registry.logged()
    first = registry.register(folder)
    registry.write(f"{folder}/model.pkl", b"other weights")
    second = registry.register(folder)
    registry(artifacts.remove, OWNERS, folder)
    registry(runs.delete_run, registry.run_id)
    gone = registry(purge.purge_runs, 1 << 60, 100)
    registry.database.write_now(lambda tx: artifacts.purge(tx, f"0/{registry.run_id}"))
    assert len(gone) == 1
    assert registry.files(first) == FILES
    assert registry.files(second) == {**FILES, "model.pkl": b"other weights"}
    assert first.digest != second.digest
    assert registry.database.write_now(lambda tx: artifacts.unnamed(tx, "", 100)) == []


def test_copies_have_the_digest_of_their_original(registry: Registry) -> None:
    original = registry.register(registry.logged())
    registry.model("other")
    copy = registry.register("models:/m/1", "other")
    registry(aliases.move, "m", "best", 1)
    again = registry.register("models:/m@best", "other")
    assert (copy.digest, copy.source, copy.run_id) == (original.digest, "models:/m/1", original.run_id)
    assert (again.version, again.source) == (2, "models:/m/1")
    registry(models.delete_model, "m")
    assert registry.files(copy) == FILES


CHANGES: list[Callable[[Registry, str], Any]] = [
    lambda registry, path: registry.write(f"{path}/MLmodel", b"changed"),
    lambda registry, path: registry.write(f"{path}/new/file", b"more"),
    lambda registry, path: registry(artifacts.remove, OWNERS, f"{path}/MLmodel"),
    lambda registry, path: registry(artifacts.remove, OWNERS, path),
    lambda registry, path: registry(artifacts.remove, OWNERS, path.rpartition("/")[0]),
    lambda registry, path: registry(artifacts.start_upload, OWNERS, f"{path}/MLmodel"),
    lambda registry, path: registry(artifacts.put, OWNERS, f"{path}/big", blob_of(b"big")),
]


@pytest.mark.parametrize("change", CHANGES)
def test_pinned_files_never_change(registry: Registry, change: Callable[[Registry, str], Any]) -> None:
    version = registry.register(registry.logged())
    with pytest.raises(Immutable):
        change(registry, version.storage.removeprefix("mlflow-artifacts:/"))
    assert registry.files(version) == FILES


def test_the_folder_of_pinned_files_is_nobodys_experiment(registry: Registry) -> None:
    for location in ("mlflow-artifacts:/registry", "mlflow-artifacts:/registry/1/1"):
        with pytest.raises(Denied):
            registry(experiments.create, f"at {location}", location)
    with pytest.raises(NotFound):
        registry.write("registry/999/1/x", b"x")


def test_only_deleting_a_version_frees_its_files(registry: Registry) -> None:
    folder = registry.logged()
    registry.register(folder)
    registry.register(folder)
    registry(artifacts.remove, OWNERS, folder)
    registry(versions.delete_version, "m", 1)
    assert registry.database.write_now(lambda tx: artifacts.unnamed(tx, "", 100)) == []
    registry(versions.delete_version, "m", 2)
    assert len(registry.database.write_now(lambda tx: artifacts.unnamed(tx, "", 100))) == len(FILES)
    with pytest.raises(NotFound):
        registry(versions.get, "m", 2)
    assert registry.register(registry.logged()).version == 3


def test_what_lies_elsewhere_is_not_pinned_and_says_so(registry: Registry) -> None:
    far = registry.register("s3://bucket/model")
    empty = registry.register(registry.logged({}))
    assert (far.digest, far.storage, far.files) == (None, "s3://bucket/model", 0)
    assert (empty.digest, empty.storage) == (None, empty.source)


def test_the_files_of_others_cannot_be_registered(registry: Registry) -> None:
    folder = registry.logged()
    registry.new_run()
    for source, run_id in (
        (folder, "0" * 32),
        (f"{folder}/../../..", registry.run_id),
        ("0/other/model", registry.run_id),
    ):
        with pytest.raises(Invalid):
            registry.register(f"mlflow-artifacts:/{source}", run_id=run_id)
    with pytest.raises(NotFound):
        registry(versions.get, "m", 1)


# --- what is known about a version -------------------------------------------------------------------------------


def test_facts_come_from_the_model_and_its_run(registry: Registry) -> None:
    folder = registry.logged({**FILES, "input_example.json": b"[[1.0]]"})
    registry(
        runs.set_tags, registry.run_id, [Tag("mlflow.source.git.commit", "abc"), Tag("mlflow.source.name", "t.py")]
    )
    data = DatasetInput(Dataset("flights", "d1", "local", "{}"), [Tag("mlflow.data.context", "training")])
    registry(inputs.log_inputs, registry.run_id, [data])
    found = registry.register(folder).facts
    assert found.signature == {"inputs": [{"type": "double", "name": "x"}], "outputs": [{"type": "long"}]}
    assert found.flavors == {"python_function": None, "sklearn": "1.8.0"}
    assert (found.python, found.experiment_id, found.problem) == ("3.11.9", 0, None)
    assert found.environment == [PinnedFile("requirements.txt", digest(FILES["requirements.txt"]))]
    assert found.input_example == PinnedFile("input_example.json", digest(b"[[1.0]]"))
    assert found.datasets == [UsedDataset("flights", "d1", "training")]
    assert found.code == CodeState("abc", None, "t.py")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1, 2]",
        b"a: [",
        b"\xff\xfe\x00",
        b"flavors: 7\nsignature: [x]",
        b"- " * 3_000,
        b"a: &a [*a]",
        b"[" * 30_000,
    ],
)
def test_a_broken_description_is_noted_and_prevents_nothing(registry: Registry, content: bytes) -> None:
    found = registry.register(registry.logged({"MLmodel": content}))
    assert found.digest
    assert (found.facts.signature, found.facts.flavors) == (None, None)
    assert registry(versions.get, "m", 1).facts == found.facts


def test_a_long_description_that_is_replaced_meanwhile_is_read_again(registry: Registry) -> None:
    """It is in the store, and not read within a transaction."""
    folder = registry.logged()
    new = NewVersion("m", f"mlflow-artifacts:/{folder}", registry.run_id)
    texts = [b"flavors: {f%d: {}}\n" % number + b"#" * SMALL_BYTES for number in range(4)]
    by_digest = {blob_of(text).digest: text for text in texts}

    def replace(number: int) -> None:
        registry(artifacts.put, OWNERS, f"{folder}/MLmodel", blob_of(texts[number]))

    class Replaced:
        """Somebody writes another description while one is read."""

        def __init__(self, times: int) -> None:
            self.times = times

        def read(self, file: ArtifactFile, limit: int) -> bytes:
            if self.times:
                replace(self.times)
                self.times -= 1
            return by_digest[file.digest][:limit]

    replace(0)
    found = asyncio.run(registration.register(registry.database, Replaced(1), LOCAL, new))
    assert (found.version, found.facts.flavors) == (1, {"f1": None})
    replace(0)
    with pytest.raises(UnreadError, match="change while"):
        asyncio.run(registration.register(registry.database, Replaced(3), LOCAL, new))


# --- names, aliases, stages --------------------------------------------------------------------------------------


def test_names_are_unique_in_a_project(registry: Registry) -> None:
    with pytest.raises(AlreadyExists):
        registry(models.create, "m")
    registry.model("M")
    registry(renaming.rename, "M", "n")
    with pytest.raises(AlreadyExists):
        registry(renaming.rename, "n", "m")
    assert registry(models.get, "n").name == "n"


def test_an_alias_moves_and_every_move_is_an_event(registry: Registry) -> None:
    folder = registry.logged()
    for _ in range(2):
        registry.register(folder)
    registry(aliases.move, "m", "champion", 1)
    registry(aliases.move, "m", "champion", 2)
    moves = [data for kind, _, data in registry.log() if kind == "registry.alias.moved"]
    assert [(each["before"], each["after"]) for each in moves] == [
        ({"version": None}, {"version": 1}), ({"version": 1}, {"version": 2}),
    ]  # fmt: skip
    assert registry(aliases.lookup, "m", "champion").version == 2
    assert registry(aliases.lookup, "m", "latest").version == 2
    assert registry(models.get, "m").aliases == [Alias("champion", 2)]


def test_who_expects_something_else_loses(registry: Registry) -> None:
    folder = registry.logged()
    for _ in range(3):
        registry.register(folder)
    registry(aliases.move, "m", "champion", 1, None)
    registry(aliases.move, "m", "champion", 2, 1)
    for expected in (1, 3, None):
        with pytest.raises(Conflict):
            registry(aliases.move, "m", "champion", 3, expected)
    assert registry(aliases.lookup, "m", "champion").version == 2
    registry(versions.delete_version, "m", 2)
    with pytest.raises(NotFound):
        registry(aliases.lookup, "m", "champion")


def test_a_stage_can_be_cleared_for_a_newcomer(registry: Registry) -> None:
    folder = registry.logged()
    for version in (1, 2):
        registry.register(folder)
        registry(versions.transition, "m", version, Stage.PRODUCTION, archive=version == 2)
    newest = registry(models.latest, "m")
    assert [(each.version, each.stage) for each in newest] == [(1, Stage.ARCHIVED), (2, Stage.PRODUCTION)]
    with pytest.raises(Invalid):
        registry(versions.transition, "m", 1, Stage.NONE, archive=True)


def test_deleting_a_model_takes_everything(registry: Registry) -> None:
    version = registry.register(registry.logged(), tags={"a": "b"})
    registry(aliases.move, "m", "champion", 1)
    registry(models.delete_model, "m")
    assert registry.files(version) == {}
    kind, subject, data = registry.log()[-1]
    assert (kind, subject) == ("registry.model.deleted", "registered-model/m")
    assert data == {"versions": {"1": version.digest}, "files": 3}
    registry.model()
    again = registry.register(registry.logged())
    assert (again.version, again.tags, again.aliases) == (1, {}, [])


# --- who may -----------------------------------------------------------------------------------------------------


def test_roles(registry: Registry) -> None:
    registry.register(registry.logged())
    viewer = Registry(registry.database, Caller("viewer", roles={"default": Role.VIEWER}))
    stranger = Registry(registry.database, Caller("stranger"))
    assert viewer(versions.get, "m", 1).version == 1
    for verb, arguments in (
        (models.create, ("x",)), (renaming.rename, ("m", "x")), (models.delete_model, ("m",)),
        (models.set_tag, ("m", "k", "v")), (versions.delete_version, ("m", 1)), (aliases.move, ("m", "a", 1)),
        (versions.transition, ("m", 1, Stage.STAGING)), (versions.describe, ("m", 1, "x")),
    ):  # fmt: skip
        with pytest.raises(Denied):
            viewer(verb, *arguments)
        with pytest.raises((Denied, NotFound)):
            stranger(verb, *arguments)
    with pytest.raises(NotFound):
        stranger(versions.get, "m", 1)


def test_models_of_others_are_copied_by_those_who_may_see_them(registry: Registry) -> None:
    registry.register(registry.logged())
    thief = Registry(registry.database, Caller("thief", roles={"default": Role.NONE}))
    with pytest.raises(NotFound):
        thief(registration.create, NewVersion("m", "models:/m/1"), Description())
    root = registry(versions.get, "m", 1).storage.removeprefix("mlflow-artifacts:/")
    with pytest.raises(NotFound):
        thief(artifacts.get, f"{root}/MLmodel")
    assert thief(artifacts.below, OWNERS, root) == []


def test_who_may_read_a_logged_model_may_register_it_elsewhere(registry: Registry) -> None:
    """The version is linked to the logged model only by those who may change that one."""
    logged: LoggedModel = registry(logged_models.create, 0, "tree")
    for path, content in FILES.items():
        registry.write(f"0/models/{logged.model_id}/artifacts/{path}", content)
    registry.database.write_now(lambda tx: projects.create(tx, LOCAL, PROJECT, "prod"))
    roles = {"default": Role.VIEWER, "prod": Role.EDITOR}
    promoter = Registry(registry.database, Caller("promoter", roles=roles, project="prod"))
    promoter.model("served")
    version = promoter.register(f"models:/{logged.model_id}", "served", model_id=logged.model_id)
    assert (version.project, promoter.files(version)) == ("prod", FILES)
    assert registry(logged_models.get, logged.model_id).tags == []
    registry(logged_models.set_tags, logged.model_id, [Tag("mlflow.modelVersions", "{broken")])
    registry.register(f"models:/{logged.model_id}", model_id=logged.model_id)
    (tag,) = registry(logged_models.get, logged.model_id).tags
    assert tag.value == '[{"name": "m", "version": 1}]'


# --- search ------------------------------------------------------------------------------------------------------


def test_pages_of_versions_and_models(registry: Registry) -> None:
    folder = registry.logged()
    for number in range(5):
        registry.register(folder, tags={"n": str(number)})
    registry.model("other")

    def pages(kind: Callable[..., Any], limit: int, *arguments: Any) -> list[list[Any]]:
        found: list[list[Any]] = []
        token = ""
        while not found or token:
            page = registry.database.read_now(
                lambda tx, token=token: kind(tx, ["default"], *arguments, max_results=limit, page_token=token)  # type: ignore[misc]
            )
            found.append(page.rows)
            token = page.next_page_token
        return found

    names = [[row[1] for row in page] for page in pages(search.search_models, 1, "", ["name DESC"])]
    assert names == [["other"], ["m"]]
    numbers = [[row[3] for row in page] for page in pages(search.search_versions, 2, "tags.n != '3'", [])]
    assert numbers == [[5, 3], [2, 1]]
    loaded = registry.database.read_now(
        lambda tx: rows.versions(tx, search.search_versions(tx, ["default"], "tag.n LIKE '%2'").rows)
    )
    assert [each.tags for each in loaded] == [{"n": "2"}]
    assert registry.database.read_now(lambda tx: search.search_versions(tx, [], "")).rows == []


def test_projects_say_what_they_hold(registry: Registry) -> None:
    registry.model("other")
    held = registry.database.read_now(lambda tx: models.held_by(tx, "default"))
    assert held == "2 registered models"
    assert registry.database.read_now(lambda tx: models.held_by(tx, "nothing")) == ""
    assert pinning.folder(1, 2) == "registry/1/2"
    assert registry.caller == LOCAL
