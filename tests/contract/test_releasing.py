"""Releases on both databases: the very same files in another project, once, by those who may, and gated there."""

import pytest

from mlwright.kernel import store
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Denied, GateClosed, Invalid, NotFound
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.kernel.resources import API_VERSION, Manifest, Metadata
from mlwright.registry.service import aliases, gates, models, releasing, versions
from mlwright.registry.service.releasing import Released
from mlwright.registry.spec import ModelVersion
from mlwright.security import projects
from tests.contract.conftest import PROJECT
from tests.contract.registry import FILES, Registry


@pytest.fixture
def registry(database: Database) -> Registry:
    found = Registry(database)
    found.model()
    database.write_now(lambda tx: projects.create(tx, LOCAL, PROJECT, "prod"))
    return found


def release(registry: Registry, number: int = 1, *, project: str = "prod", name: str = "") -> Released:
    found: Released = registry(releasing.release, "m", number, "default", project, name)
    return found


def there(registry: Registry, name: str, number: int) -> ModelVersion:
    found: ModelVersion = registry(versions.get, name, number, "prod")
    return found


def test_the_same_files_are_a_version_elsewhere(registry: Registry) -> None:
    folder = registry.logged()
    first = registry.register(folder, description="words", tags={"checked": "yes"})
    done = release(registry)
    found = there(registry, "m", 1)
    assert done == (found, True)
    assert (found.project, found.digest, found.facts) == ("prod", first.digest, first.facts)
    assert (found.description, found.tags, found.run_id) == ("words", {"checked": "yes"}, first.run_id)
    assert registry.files(found) == FILES
    assert [each[1] for each in registry.log() if each[0] == "registry.version.released"] == ["model-version/m/1"]
    registry(versions.delete_version, "m", 1)
    assert registry.files(there(registry, "m", 1)) == FILES


def test_again_finds_what_is_there(registry: Registry) -> None:
    registry.register(registry.logged())
    assert release(registry).is_new
    again = release(registry)
    assert (again.version.version, again.is_new) == (1, False)
    registry.register(registry.logged({**FILES, "model.pkl": b"other"}))
    assert release(registry, 2).version.version == 2
    assert release(registry, 1).version.version == 1
    assert release(registry, 1, project="default", name="n").version.name == "n"


def test_a_long_description_needs_not_be_read_again(registry: Registry) -> None:
    version = registry.register(registry.logged({**FILES, "MLmodel": b"flavors: {a: {}}\n" + b"#" * 20_000}))
    assert release(registry).version.facts == version.facts


def test_the_gates_there_decide_anew(registry: Registry) -> None:
    for project, name in (("default", "here"), ("prod", "there")):
        spec = {"gates": [{"name": "lead", "approval": {"notRequester": False}}], "aliases": ["champion"]}
        manifest = Manifest(API_VERSION, "GatePolicy", Metadata(name, project=project), spec)
        registry.database.write_now(lambda tx, manifest=manifest: store.apply(tx, LOCAL, gates.KIND, manifest))  # type: ignore[misc]
    version = registry.register(registry.logged())
    registry(gates.approve, version, "here", "lead", approves=True)
    registry(aliases.move, "m", "champion", 1)
    released = release(registry).version
    with pytest.raises(GateClosed, match="there/lead"):
        registry(aliases.move, "m", "champion", 1, project="prod")
    registry(gates.approve, released, "there", "lead", approves=True)
    registry(aliases.move, "m", "champion", 1, project="prod")


def test_who_may_release(registry: Registry) -> None:
    registry.register(registry.logged())

    def asked(**roles: Role) -> Released:
        someone = Registry(registry.database, Caller("ann", roles=roles))
        return release(someone)

    with pytest.raises(NotFound):
        asked(prod=Role.ADMIN)
    for role in (Role.NONE, Role.VIEWER):
        with pytest.raises(Denied):
            asked(default=Role.ADMIN, prod=role)
    assert asked(default=Role.VIEWER, prod=Role.EDITOR).version.author == "ann"
    assert registry(models.get, "m", "prod").last_version == 1


def test_what_cannot_be_released(registry: Registry) -> None:
    registry.register("s3://bucket/model")
    with pytest.raises(Invalid, match="not pinned"):
        release(registry)
    registry.register(registry.logged())
    with pytest.raises(Invalid, match="another project"):
        release(registry, 2, project="default")
    with pytest.raises(NotFound):
        release(registry, 3)
    with pytest.raises((NotFound, Invalid, Denied)):
        release(registry, 2, project="nowhere")
