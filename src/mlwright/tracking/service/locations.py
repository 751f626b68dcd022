"""Where artifacts lie on this server, and which project a folder belongs to. Nobody reaches into another's."""

from sqlalchemy import bindparam, select

from mlwright.kernel.errors import Denied
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.tracking.tables import experiments

#: URI scheme of artifacts that lie on this server.
SCHEME = "mlflow-artifacts:"
#: The folder in which the model registry keeps what it pinned.
PINNED = "registry"
_ROOT = f"{SCHEME}/"
_MAX_EXPERIMENT_DIGITS = 18

_by_number = Query(
    select(experiments.c.project, experiments.c.artifact_location).where(experiments.c.id == bindparam("id"))
)
_by_location = Query(
    select(experiments.c.project)
    .where(experiments.c.artifact_location.in_([bindparam("one"), bindparam("two")]))
    .limit(1)
)
_below = Query(
    select(experiments.c.project)
    .where(
        experiments.c.artifact_location >= bindparam("first"),
        experiments.c.artifact_location < bindparam("end"),
        experiments.c.project != bindparam("project"),
    )
    .limit(1)
)


def elsewhere(uri: str) -> bool:
    """Whether artifacts at `uri` lie on another server or in a store of their own."""
    return bool(uri) and not uri.startswith(SCHEME)


def project_of(tx: Tx, path: str) -> str | None:
    """The project of the experiment whose artifact location is a folder at or above `path`."""
    first = path.partition("/")[0]
    if is_number(first):
        row = tx.one(_by_number, {"id": int(first)})
        if row is not None and row[1].rstrip("/") == f"{_ROOT}{first}":
            return str(row[0])
    parts = path.split("/")
    for end in range(len(parts), 0, -1):
        location = _ROOT + "/".join(parts[:end])
        row = tx.one(_by_location, {"one": location, "two": f"{location}/"})
        if row is not None:
            return str(row[0])
    return None


def claim(tx: Tx, project: str, uri: str) -> None:
    """Raises Denied when artifacts of `project` at `uri` would lie in, or around, what is not its own.

    Folders that are numbers belong to the experiments of these numbers, also to those that are still to come; PINNED
    belongs to the model registry.
    """
    if not uri.startswith(SCHEME):
        return
    rest = uri.removeprefix(SCHEME)
    path = (rest[2:].partition("/")[2] if rest.startswith("//") else rest).strip("/")
    owner = project_of(tx, path)
    first = path.partition("/")[0]
    foreign = owner != project if owner is not None else is_number(first)
    around = {"first": f"{_ROOT}{path}/" if path else _ROOT, "end": f"{_ROOT}{path}0" if path else f"{SCHEME}0"}
    if foreign or first == PINNED or tx.one(_below, {**around, "project": project}) is not None:
        raise Denied(
            f"The folder {uri!r} is not free: other artifacts lie there, or will",
            path="artifact_location",
            hint="leave the location empty, or choose another folder",
        )


def is_number(text: str) -> bool:
    """Whether a folder's name is a row number."""
    return text.isascii() and text.isdigit() and len(text) <= _MAX_EXPERIMENT_DIGITS
