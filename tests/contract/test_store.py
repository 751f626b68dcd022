"""The resource store on both databases: apply, get, list, watch, delete, and who may do what."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import msgspec
import pytest

from mlwright.kernel import events, store
from mlwright.kernel.clock import ManualClock
from mlwright.kernel.database import Database
from mlwright.kernel.errors import AlreadyExists, Conflict, Denied, Invalid, MlwrightError, NotFound
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.kernel.resources import API_VERSION, Condition, Kind, Manifest, Metadata, OwnerReference, Resource, Status
from mlwright.kernel.store import Applied
from mlwright.security import projects
from mlwright.security import service as security
from mlwright.security.spec import PrincipalKind
from mlwright.tracking.service import experiments
from tests.contract.conftest import PROJECT


class LampSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A lamp."""

    watts: Annotated[int, msgspec.Meta(ge=1)] = 5
    colour: str = "white"


LAMP = Kind("Lamp", "lamps", LampSpec, "A lamp.")


def lamp(name: str = "desk", spec: dict[str, Any] | None = None, **metadata: Any) -> Manifest:
    return Manifest(API_VERSION, "Lamp", Metadata(name, **metadata), spec or {})


class Store:
    """The store's verbs, each in a transaction of its own, as one caller."""

    def __init__(self, database: Database, caller: Caller = LOCAL, kind: Kind = LAMP) -> None:
        self.database, self.caller, self.kind = database, caller, kind

    def as_(self, caller: Caller) -> "Store":
        return Store(self.database, caller, self.kind)

    def apply(self, manifest: Manifest, *, dry_run: bool = False) -> Applied:
        return self.database.write_now(lambda tx: store.apply(tx, self.caller, self.kind, manifest, dry_run=dry_run))

    def get(self, name: str = "desk", project: str = "") -> Resource:
        return self.database.read_now(lambda tx: store.get(tx, self.caller, self.kind, name, project))

    def names(self, project: str = "", labels: str = "") -> list[str]:
        found = self.database.read_now(lambda tx: store.list_all(tx, self.caller, self.kind, project, labels))
        return [each.metadata.name for each in found]

    def remove(self, name: str = "desk", project: str = "", version: str = "") -> Resource | None:
        return self.database.write_now(lambda tx: store.remove(tx, self.caller, self.kind, name, project, version))

    def status(self, status: Status, name: str = "desk") -> Resource:
        return self.database.write_now(lambda tx: store.set_status(tx, self.caller, self.kind, name, status))

    def watch(self, after: int = 0) -> store.Watched:
        return self.database.read_now(lambda tx: store.watch(tx, self.caller, self.kind, after))

    def head(self) -> int:
        return self.database.read_now(events.head)


@pytest.fixture
def lamps(database: Database) -> Store:
    return Store(database)


# --- apply -------------------------------------------------------------------------------------------------------


def test_apply_creates_with_defaults(lamps: Store) -> None:
    done = lamps.apply(lamp(spec={"watts": 7}, labels={"room": "study"}))
    assert done.action == "created"
    assert done.resource == lamps.get()
    assert done.resource.spec == {"watts": 7, "colour": "white"}
    metadata = done.resource.metadata
    assert (metadata.project, metadata.generation, metadata.labels) == ("default", 1, {"room": "study"})
    assert len(metadata.uid) == 32
    assert metadata.creation_timestamp == "2023-11-14T22:13:20.000Z"


def test_apply_twice_changes_nothing(lamps: Store) -> None:
    first = lamps.apply(lamp(spec={"watts": 7}))
    head = lamps.head()
    again = lamps.apply(lamp(spec={"watts": 7, "colour": "white"}))
    assert again == Applied("unchanged", first.resource)
    assert lamps.head() == head


def test_a_changed_spec_is_a_new_generation(lamps: Store) -> None:
    first = lamps.apply(lamp(spec={"watts": 7, "colour": "red"})).resource
    done = lamps.apply(lamp(spec={"watts": 8}))
    assert done.action == "updated"
    assert done.resource.spec == {"watts": 8, "colour": "white"}
    assert done.resource.metadata.generation == 2
    assert int(done.resource.metadata.resource_version) > int(first.metadata.resource_version)
    assert done.resource.metadata.uid == first.metadata.uid


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {"a": "b"}}, {"annotations": {"a": "any text\n\0"}}, {"finalizers": ["x.y/z"]},
        {"owner_references": [OwnerReference("Lamp", "other", "1")]},
    ],
)  # fmt: skip
def test_other_changes_keep_the_generation(lamps: Store, change: dict[str, Any]) -> None:
    lamps.apply(lamp())
    done = lamps.apply(lamp(**change))
    assert (done.action, done.resource.metadata.generation) == ("updated", 1)
    assert lamps.get() == done.resource
    assert lamps.apply(lamp()).action == "unchanged"
    empty = {name: type(value)() for name, value in change.items()}
    assert lamps.apply(lamp(**empty)).action == "updated"
    assert getattr(lamps.get().metadata, next(iter(change))) is None


def test_a_dry_run_says_what_would_be(lamps: Store) -> None:
    head = lamps.head()
    assert lamps.apply(lamp(), dry_run=True).action == "created"
    assert lamps.names() == []
    first = lamps.apply(lamp()).resource
    planned = lamps.apply(lamp(spec={"watts": 9}), dry_run=True)
    assert (planned.action, planned.resource.spec["watts"]) == ("updated", 9)
    assert lamps.get() == first
    assert lamps.head() == head + 1


@pytest.mark.parametrize("stale", [{"resource_version": "1"}, {"uid": "0" * 32}])
def test_a_stale_manifest_is_a_conflict(lamps: Store, stale: dict[str, str]) -> None:
    first = lamps.apply(lamp()).resource
    with pytest.raises(Conflict, match="read"):
        lamps.apply(lamp(spec={"watts": 9}, **stale))
    assert lamps.get() == first
    fresh = {"resource_version": first.metadata.resource_version, "uid": first.metadata.uid}
    assert lamps.apply(lamp(spec={"watts": 9}, **fresh)).action == "updated"
    with pytest.raises(Conflict):
        lamps.apply(lamp(spec={"watts": 10}, **fresh))


def test_what_was_deleted_meanwhile_is_not_made_again(lamps: Store) -> None:
    first = lamps.apply(lamp()).resource
    lamps.remove()
    with pytest.raises(Conflict, match="deleted"):
        lamps.apply(lamp(resource_version=first.metadata.resource_version))


def test_a_resource_made_again_is_another(lamps: Store) -> None:
    first = lamps.apply(lamp()).resource.metadata
    lamps.remove()
    clock = lamps.database.clock
    assert isinstance(clock, ManualClock)
    clock.advance(1)
    second = lamps.apply(lamp()).resource.metadata
    assert first.uid != second.uid
    assert first.resource_version != second.resource_version
    with pytest.raises(Conflict):
        lamps.apply(lamp(resource_version=first.resource_version))


def test_what_was_read_can_be_applied(lamps: Store) -> None:
    lamps.apply(lamp(labels={"a": "b"}))
    lamps.status(Status("On"))
    found = lamps.get()
    again = msgspec.convert(msgspec.to_builtins(found), Manifest)
    assert lamps.apply(again).action == "unchanged"


def test_a_wrong_spec_changes_nothing(lamps: Store) -> None:
    for spec, path in (({"wats": 1}, "spec.wats"), ({"watts": 0}, "spec.watts"), ({"watts": "1"}, "spec.watts")):
        with pytest.raises(Invalid) as caught:
            lamps.apply(lamp(spec=spec))
        assert caught.value.path == path
    assert lamps.names() == []


def test_only_one_of_many_who_saw_the_same_wins(lamps: Store) -> None:
    version = lamps.apply(lamp()).resource.metadata.resource_version

    def work(watts: int) -> int:
        try:
            lamps.apply(lamp(spec={"watts": watts}, resource_version=version))
        except Conflict:
            return 0
        return watts

    with ThreadPoolExecutor(8) as pool:
        won = [each for each in pool.map(work, range(10, 18)) if each]
    assert [lamps.get().spec["watts"]] == won
    assert lamps.get().metadata.generation == 2


# --- list --------------------------------------------------------------------------------------------------------


def test_lists_are_sorted_and_selected(lamps: Store) -> None:
    lamps.database.write_now(lambda tx: projects.create(tx, LOCAL, PROJECT, "attic"))
    lamps.apply(lamp("b", labels={"room": "study", "tier": "1"}))
    lamps.apply(lamp("a", labels={"room": "hall"}))
    lamps.apply(lamp("c", project="attic"))
    assert lamps.names() == ["c", "a", "b"]
    assert lamps.names("default") == ["a", "b"]
    assert lamps.names(labels="room in (study, hall),tier!=1") == ["a"]
    assert lamps.names(labels="!room") == ["c"]
    assert Store(lamps.database, kind=PROJECT).names() == ["attic", "default"]


def test_the_same_name_may_exist_in_two_projects(lamps: Store) -> None:
    lamps.database.write_now(lambda tx: projects.create(tx, LOCAL, PROJECT, "attic"))
    lamps.apply(lamp())
    lamps.apply(lamp(project="attic", spec={"watts": 9}))
    assert lamps.get("desk", "attic").spec["watts"] == 9
    assert lamps.get("desk").spec["watts"] == 5
    lamps.remove("desk", "attic")
    assert lamps.names() == ["desk"]


def test_a_project_must_exist(lamps: Store) -> None:
    with pytest.raises(NotFound, match="no project 'attic'"):
        lamps.apply(lamp(project="attic"))


# --- delete, status ----------------------------------------------------------------------------------------------


def test_delete_removes_at_once(lamps: Store) -> None:
    lamps.apply(lamp())
    assert lamps.remove() is None
    with pytest.raises(NotFound, match="no Lamp 'desk' in project 'default'"):
        lamps.get()
    with pytest.raises(NotFound):
        lamps.remove()


def test_delete_can_insist_on_a_version(lamps: Store) -> None:
    version = lamps.apply(lamp()).resource.metadata.resource_version
    lamps.apply(lamp(spec={"watts": 6}))
    with pytest.raises(Conflict):
        lamps.remove(version=version)
    lamps.remove(version=lamps.get().metadata.resource_version)


def test_finalizers_hold_a_resource_back(lamps: Store) -> None:
    lamps.apply(lamp(finalizers=["a.b/c", "d"]))
    marked = lamps.remove()
    assert marked == lamps.get()
    assert marked is not None
    assert marked.metadata.deletion_timestamp == "2023-11-14T22:13:20.000Z"
    assert lamps.remove() == marked
    with pytest.raises(Conflict, match="being deleted"):
        lamps.apply(lamp(finalizers=["a.b/c", "d", "e"]))
    lamps.apply(lamp(finalizers=["d"]))
    assert lamps.names() == ["desk"]
    lamps.apply(lamp(finalizers=[]))
    assert lamps.names() == []
    assert [each.type for each in lamps.watch().changes] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]


def test_a_status_is_no_change_of_the_spec(lamps: Store) -> None:
    first = lamps.apply(lamp()).resource
    status = Status("On", [Condition("Ready", "True", "Lit", "it shines", observed_generation=1)], 1)
    after = lamps.status(status)
    assert after == lamps.get()
    assert (after.status, after.metadata.generation) == (status, 1)
    assert after.metadata.resource_version != first.metadata.resource_version
    head = lamps.head()
    assert lamps.status(status) == after
    assert lamps.head() == head
    assert lamps.apply(lamp(spec={"watts": 9})).resource.status == status


# --- events and watch --------------------------------------------------------------------------------------------


def test_every_change_is_an_event_with_before_and_after(lamps: Store) -> None:
    start = lamps.head()
    first = lamps.apply(lamp()).resource
    second = lamps.apply(lamp(spec={"watts": 9})).resource
    lamps.remove()
    found = lamps.database.read_now(lambda tx: events.read(tx, start, 100))
    assert [(each.type, each.subject, each.actor, each.project) for each in found] == [
        (f"resource.{what}", "lamp/desk", "local", "default") for what in ("created", "updated", "deleted")
    ]
    data = [msgspec.json.decode(each.data) for each in found]
    assert [each["before"] for each in data] == [None, msgspec.to_builtins(first), msgspec.to_builtins(second)]
    assert [each["after"] for each in data] == [msgspec.to_builtins(first), msgspec.to_builtins(second), None]


def test_a_change_that_fails_is_no_event(lamps: Store) -> None:
    head = lamps.head()

    def work(tx: Any) -> None:
        store.apply(tx, LOCAL, LAMP, lamp())
        raise AlreadyExists("no")

    with pytest.raises(AlreadyExists):
        lamps.database.write_now(work)
    assert lamps.head() == head
    assert lamps.names() == []


def test_watch_goes_on_where_it_stopped(lamps: Store) -> None:
    first = lamps.apply(lamp()).resource
    seen = lamps.watch()
    assert [(each.type, each.resource) for each in seen.changes] == [("ADDED", first)]
    assert seen.seq == lamps.head()
    assert lamps.watch(seen.seq) == store.Watched(seen.seq, [])
    lamps.status(Status("On"))
    Store(lamps.database, kind=PROJECT).apply(Manifest(API_VERSION, "Project", Metadata("attic"), {}))
    lamps.remove()
    later = lamps.watch(seen.seq)
    assert [each.type for each in later.changes] == ["MODIFIED", "DELETED"]
    assert later.changes[1].resource.status == Status("On")
    assert later.seq == lamps.head()


def test_replaying_the_watch_gives_the_list(lamps: Store) -> None:
    for number in range(5):
        lamps.apply(lamp(f"l{number}", finalizers=["x"] if number == 3 else None))
    for name in ("l1", "l3"):
        lamps.remove(name)
    lamps.apply(lamp("l2", spec={"watts": 50}))
    known: dict[str, Resource] = {}
    for change in lamps.watch().changes:
        if change.type == "DELETED":
            known.pop(change.resource.metadata.name)
        else:
            known[change.resource.metadata.name] = change.resource
    assert known == {name: lamps.get(name) for name in lamps.names()}


# --- who may -----------------------------------------------------------------------------------------------------

CALLERS = {
    "nobody": Caller("nobody"),
    "viewer": Caller("vi", roles={"default": Role.VIEWER}),
    "editor": Caller("ed", roles={"default": Role.EDITOR}),
    "admin": Caller("ad", roles={"default": Role.ADMIN}),
    "stranger": Caller("st", roles={"other": Role.ADMIN}),
    "server": Caller("root", everywhere=Role.ADMIN),
}
UNSEEN: dict[str, type[MlwrightError]] = {"nobody": NotFound, "stranger": NotFound}
#: verb -> callers that may; the others get the error.
ALLOWED: list[tuple[str, Kind, Callable[[Store], Any], set[str], dict[str, type[MlwrightError]]]] = [
    ("create", LAMP, lambda s: s.apply(lamp("new")), {"editor", "admin", "server"}, {}),
    ("update", LAMP, lambda s: s.apply(lamp(spec={"watts": 9})), {"editor", "admin", "server"}, {}),
    ("dry run", LAMP, lambda s: s.apply(lamp(), dry_run=True), {"editor", "admin", "server"}, {}),
    ("get", LAMP, lambda s: s.get(), {"viewer", "editor", "admin", "server"}, {"*": NotFound}),
    ("status", LAMP, lambda s: s.status(Status("On")), {"editor", "admin", "server"}, UNSEEN),
    ("remove", LAMP, lambda s: s.remove(), {"editor", "admin", "server"}, UNSEEN),
    ("make project", PROJECT, lambda s: s.apply(_project("new")), {"server"}, {}),
    ("change project", PROJECT, lambda s: s.apply(_project("default", "x")), {"admin", "server"}, {}),
    ("get project", PROJECT, lambda s: s.get("default"), {"viewer", "editor", "admin", "server"}, {"*": NotFound}),
]  # fmt: skip


def _project(name: str, description: str = "") -> Manifest:
    return Manifest(API_VERSION, "Project", Metadata(name), {"description": description})


@pytest.mark.parametrize("name", CALLERS)
def test_the_store_asks_who_is_calling(database: Database, name: str) -> None:
    Store(database).apply(lamp())
    for verb, kind, call, allowed, others in ALLOWED:
        mine = Store(database, CALLERS[name], kind)
        if name in allowed:
            call(mine)
            if verb == "remove":
                Store(database).apply(lamp())
        else:
            with pytest.raises(others.get(name, others.get("*", Denied))):
                call(mine)
    sees = name not in {"nobody", "stranger"}
    assert bool(Store(database, CALLERS[name]).names()) is sees
    assert bool(Store(database, CALLERS[name]).watch().changes) is sees


# --- projects ----------------------------------------------------------------------------------------------------


def test_a_project_is_one_thing_however_it_is_made(database: Database) -> None:
    resources = Store(database, kind=PROJECT)
    database.write_now(lambda tx: projects.create(tx, LOCAL, PROJECT, "vision", "Pictures"))
    assert resources.get("vision").spec == {"description": "Pictures", "signatures": "optional"}
    resources.apply(_project("vision", "Photos"))
    resources.apply(_project("audio"))
    found = database.read_now(lambda tx: projects.list_all(tx, LOCAL, PROJECT))
    assert [(each.name, each.description) for each in found] == [
        ("audio", ""),
        ("default", "Where everything goes by default"),
        ("vision", "Photos"),
    ]
    assert found[0].created_ms == database.clock.now_ms()
    with pytest.raises(AlreadyExists):
        database.write_now(lambda tx: projects.create(tx, LOCAL, PROJECT, "audio"))


def test_the_default_project_is_made_once(database: Database) -> None:
    head = database.read_now(events.head)
    database.write_now(lambda tx: projects.create_default(tx, PROJECT))
    assert database.read_now(events.head) == head


def test_a_project_with_experiments_is_kept(database: Database) -> None:
    resources = Store(database, kind=PROJECT)
    resources.apply(_project("vision"))
    number = database.write_now(lambda tx: experiments.create(tx, LOCAL, "e", project="vision"))
    database.write_now(lambda tx: experiments.delete_experiment(tx, LOCAL, number))
    with pytest.raises(Conflict, match="1 experiment"):
        resources.remove("vision")
    with pytest.raises(Conflict, match="stays"):
        resources.remove("default")
    assert resources.names() == ["default", "vision"]


def test_roles_go_with_their_project(database: Database) -> None:
    resources = Store(database, kind=PROJECT)
    resources.apply(_project("vision"))
    database.write_now(lambda tx: security.create_principal(tx, LOCAL, "ada", PrincipalKind.USER))
    database.write_now(lambda tx: security.grant(tx, LOCAL, "vision", "ada", "editor"))
    resources.remove("vision")
    assert database.read_now(lambda tx: security.caller_by_name(tx, "ada")).roles == {}
    resources.apply(_project("vision"))
    assert database.read_now(lambda tx: security.list_bindings(tx, LOCAL, "vision")) == []


def test_experiments_need_a_project_that_exists(database: Database) -> None:
    with pytest.raises(NotFound, match="no project 'nowhere'"):
        database.write_now(lambda tx: experiments.create(tx, LOCAL, "e", project="nowhere"))
