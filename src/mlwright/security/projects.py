"""Projects: the first kind of resources, and the verbs that look at them in short."""

from collections.abc import Callable

from mlwright.kernel import store
from mlwright.kernel.errors import AlreadyExists, Conflict
from mlwright.kernel.identity import DEFAULT_PROJECT, Caller, Role
from mlwright.kernel.resources import API_VERSION, Kind, Manifest, Metadata, Resource, check_name
from mlwright.kernel.transaction import Tx
from mlwright.security import service
from mlwright.security.spec import Project, ProjectSpec

#: Who makes what every new platform has.
_SYSTEM = Caller("system", everywhere=Role.ADMIN)


def kind(contents: Callable[[Tx, str], str] = lambda tx, name: "") -> Kind:
    """The kind of projects.

    Args:
        contents: says what a project still holds, such as "3 experiments"; empty when it may be deleted.
    """

    def before_delete(tx: Tx, resource: Resource) -> None:
        name = resource.metadata.name
        if name == DEFAULT_PROJECT:
            raise Conflict(f"the project {name!r} is where everything goes by default; it stays", path="name")
        held = contents(tx, name)
        if held:
            raise Conflict(f"the project {name!r} holds {held}", path="name", hint="remove or move them first")
        service.forget_project(tx, name)

    summary = "A tenant: the unit of access, quota and budget."
    return Kind(store.PROJECT, "projects", ProjectSpec, summary, is_project=True, before_delete=before_delete)


def create_default(tx: Tx, project: Kind) -> None:
    """Make the default project in a new database; does nothing when it is there."""
    if not store.exists(tx, project, DEFAULT_PROJECT, DEFAULT_PROJECT):
        store.apply(tx, _SYSTEM, project, _manifest(DEFAULT_PROJECT, "Where everything goes by default"))


def create(tx: Tx, caller: Caller, project: Kind, name: str, description: str = "") -> Project:
    """Create a project. For administrators of the server. Raises AlreadyExists."""
    caller.require_server_admin()
    check_name(name, "name")
    if store.exists(tx, project, name, name):
        raise AlreadyExists(f"There is a project {name!r} already", path="name")
    return _in_short(store.apply(tx, caller, project, _manifest(name, description)).resource)


def list_all(tx: Tx, caller: Caller, project: Kind) -> list[Project]:
    """The projects that the caller may see, by name."""
    return [_in_short(each) for each in store.list_all(tx, caller, project)]


def _manifest(name: str, description: str) -> Manifest:
    return Manifest(API_VERSION, store.PROJECT, Metadata(name), {"description": description})


def _in_short(resource: Resource) -> Project:
    created_ms = store.milliseconds(resource.metadata.creation_timestamp)
    return Project(resource.metadata.name, resource.spec["description"], created_ms)
