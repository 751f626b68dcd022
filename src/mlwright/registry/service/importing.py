"""Moving in registered models, versions and aliases that were made elsewhere, with their numbers, times and authors.

Every verb says what it changed and changes nothing the second time. What differs is brought to the source's state, but
never past a gate: an alias or stage that a closed gate guards stays as it is, and the answer says why.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import bindparam, select, update

from mlwright.artifacts.spec import root_path
from mlwright.kernel import checks
from mlwright.kernel.errors import Conflict, Invalid, NotFound
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.registry import validation
from mlwright.registry.ports import MovedRegisteredModel, MovedVersion
from mlwright.registry.service import aliases, gates, models, pinning, registration, versions
from mlwright.registry.service.gates import ClosedError
from mlwright.registry.service.registration import Description, Past
from mlwright.registry.service.sources import Source
from mlwright.registry.spec import ModelVersion, NewVersion
from mlwright.registry.tables import model_aliases, model_versions, registered_models
from mlwright.tracking.service import locations, runs
from mlwright.tracking.service import models as logged_models

_INT64 = 2**63
#: Where MLflow keeps files of logged models and runs, and the URIs that name them.
_OF_MODEL = (
    re.compile(r"models:/+(m-[0-9a-f]{32})(?:/(.*))?\Z"),
    re.compile(r".*/models/(m-[0-9a-f]{32})/artifacts(?:/(.*))?\Z"),
)
_OF_RUN = (
    re.compile(r"runs:/+([0-9a-f]{32})(?:/(.*))?\Z"),
    re.compile(r".*/([0-9a-f]{32})/artifacts(?:/(.*))?\Z"),
)
#: Object stores, which clients can reach by themselves.
_STORES = {"s3", "gs", "az", "abfs", "abfss", "wasbs", "dbfs"}

_set_model_times = Query(
    update(registered_models)
    .where(registered_models.c.id == bindparam("model_"))
    .values(created_ms=bindparam("created"), updated_ms=bindparam("updated"))
)
_set_updated = Query(
    update(model_versions).where(model_versions.c.id == bindparam("version_")).values(updated_ms=bindparam("updated"))
)
_aliases = Query(
    select(model_aliases.c.alias, model_aliases.c.version).where(model_aliases.c.model == bindparam("model"))
)


class ImportedRegisteredModel(msgspec.Struct, frozen=True):
    """Where a registered model is now, and which parts of it changed; nothing when it was here already."""

    name: str
    created: bool
    changed: list[str]


class ImportedVersion(msgspec.Struct, frozen=True):
    """What moving in a version changed, and what is here of its files.

    Attributes:
        created: it was not here before.
        changed: parts that differed; they are as at the source now, but for what was skipped.
        skipped: why something stays as it is here.
        deleted: it was here, and was deleted here: it stays so.
        digest: of its files; null when they are not pinned.
        origin: the run or logged model that has its files, as a path of the API; empty when that is not here.
        folder: where they are among its artifacts.
    """

    version: int
    created: bool
    changed: list[str]
    skipped: list[str]
    deleted: bool = False
    digest: str | None = None
    files: int = 0
    size: int = 0
    origin: str = ""
    folder: str = ""


class ImportedAliases(msgspec.Struct, frozen=True):
    """Which aliases changed, and why others stay as they are here."""

    changed: list[str]
    skipped: list[str]


class Moving(NamedTuple):
    """What is the same for all that is moved into a model.

    Attributes:
        origin: address of the source, for the events.
        override: why stages and aliases shall be moved past closed gates; for administrators.
        dry: only say what would change.
    """

    origin: str = ""
    override: str = ""
    dry: bool = False


class _Place(NamedTuple):
    """Files of a run or logged model: its path in the API, the folder among its artifacts, and their URI here."""

    origin: str
    folder: str
    uri: str


def import_model(
    tx: Tx, caller: Caller, moved: MovedRegisteredModel, prefix: str = "", *, dry: bool = False
) -> ImportedRegisteredModel:
    """The model in the caller's project that stands for `moved`, created when there is none.

    A model of the same name and time of creation is the one moved in before. Raises Conflict when another has the name.
    """
    name = prefix + moved.name
    validation.check_model_name(name)
    _check_times(moved.created_ms, moved.updated_ms)
    caller.require(caller.project, Role.EDITOR)
    try:
        found = models.find(tx, caller, name, Role.EDITOR)
    except NotFound:
        if not dry:
            models.create(tx, caller, name, moved.description, moved.tags)
            _keep_model_times(tx, caller, name, moved)
        return ImportedRegisteredModel(name, True, ["info", "tags"])
    if found.created_ms != moved.created_ms:
        raise Conflict(
            f"project {found.project!r} has another registered model called {name!r}",
            path="name",
            hint="move it in under another name with --model-prefix, or into another --project",
        )
    known = models.get(tx, caller, name)
    missing = {key: value for key, value in moved.tags.items() if known.tags.get(key) != value}
    changed = ["info"] * ((known.description or "") != moved.description) + ["tags"] * bool(missing)
    if changed and not dry:
        if "info" in changed:
            models.describe(tx, caller, name, moved.description)
        for key, value in missing.items():
            models.set_tag(tx, caller, name, key, value)
        _keep_model_times(tx, caller, name, moved)
    return ImportedRegisteredModel(name, False, changed)


def _keep_model_times(tx: Tx, caller: Caller, name: str, moved: MovedRegisteredModel) -> None:
    found = models.find(tx, caller, name, Role.EDITOR)
    tx.run(_set_model_times, {"model_": found.row, "created": moved.created_ms, "updated": moved.updated_ms})


def _check_times(*times: int) -> None:
    if any(not 0 <= each < _INT64 for each in times):
        raise Invalid("A time is not in milliseconds since 1970", path="created_ms")


# --- versions ---------------------------------------------------------------------------------------------------


def import_version(
    tx: Tx, caller: Caller, name: str, moved: MovedVersion, known: Description, moving: Moving
) -> ImportedVersion:
    """Move a version into a model of the caller's project; its files are those of the run or logged model moved before.

    Raises UnreadError when the model's own description is to be read first (see `registration.describing`).
    """
    _check_times(moved.created_ms, moved.updated_ms)
    if not 0 < moved.version < _INT64:
        raise Invalid(f"{moved.version} is not the number of a version", path="version")
    checks.check_length("author", moved.author, validation.MAX_NAME_LENGTH)
    model, place = models.find(tx, caller, name, Role.EDITOR), _place(tx, caller, moved)
    try:
        found = versions.get(tx, caller, name, moved.version)
    except NotFound:
        if moved.version <= model.last_version:
            return ImportedVersion(moved.version, False, [], [], deleted=True)
        if moving.dry:
            return _outcome(moved, None, place, ["info", "tags"], [])
        found = _create(tx, caller, model, moved, known, place, moving)
        skipped = [] if moved.stage is found.stage else _stage(tx, caller, found, moved, moving)
        return _outcome(moved, found, place, [], skipped, created=True)
    if (found.created_ms, found.source) != (moved.created_ms, moved.source):
        reason = f"{name}/{moved.version}: another version has this number here"
        return ImportedVersion(moved.version, False, ["info"], [reason])
    changed = _changes(found, moved)
    skipped = _sync(tx, caller, found, moved, changed, moving) if changed and not moving.dry else []
    return _outcome(moved, found, place, changed, skipped)


def _outcome(
    moved: MovedVersion, found: ModelVersion | None, place: _Place | None, changed: list[str], skipped: list[str], *,
    created: bool = False,
) -> ImportedVersion:  # fmt: skip
    files = (found.digest, found.files, found.size) if found else (None, 0, 0)
    origin, folder, _ = place or ("", "", "")
    return ImportedVersion(moved.version, created or found is None, changed, skipped, False, *files, origin, folder)


def _create(
    tx: Tx, caller: Caller, model: models.Found, moved: MovedVersion, known: Description, place: _Place | None,
    moving: Moving,
) -> ModelVersion:  # fmt: skip
    new = NewVersion(
        model.name, moved.source, moved.run_id or None, moved.model_id or None, moved.run_link, moved.description,
        moved.tags,
    )  # fmt: skip
    storage = place.uri if place else _elsewhere(moved, pinning.folder(model.row, moved.version))
    folder = root_path(storage) if place else None
    source = Source(moved.source, new.run_id, new.model_id, storage, folder or None)
    past = Past(moved.version, moved.author, moved.created_ms, moved.updated_ms, moving.origin)
    return registration.create(tx, caller, new, known, source, past)


def _elsewhere(moved: MovedVersion, own: str) -> str:
    """Where clients are sent for files that are not here: to their object store, or to a folder that stays empty.

    A path of the other machine would be looked for on whatever machine asks, so it is not told.
    """
    uri = moved.storage or moved.source
    return uri if urlsplit(uri).scheme in _STORES else f"{locations.SCHEME}/{own}"


def _place(tx: Tx, caller: Caller, moved: MovedVersion) -> _Place | None:
    """The files of a version among those of runs and logged models that are here and that the caller may see."""
    for uri in (moved.storage, moved.source):
        for pattern in _OF_MODEL:
            if (match := pattern.match(uri)) is not None:
                return _of_logged_model(tx, caller, match[1], (match[2] or "").strip("/"))
        for pattern in _OF_RUN:
            if (match := pattern.match(uri)) is not None:
                return _of_run(tx, caller, match[1], (match[2] or "").strip("/"))
    return None


def _of_logged_model(tx: Tx, caller: Caller, model_id: str, folder: str) -> _Place | None:
    try:
        uri = logged_models.get(tx, caller, model_id, deleted=True).artifact_uri
    except NotFound:
        return None
    return _Place(f"logged-models/{model_id}", folder, _joined(uri, folder))


def _of_run(tx: Tx, caller: Caller, run_id: str, folder: str) -> _Place | None:
    try:
        uri = runs.find(tx, caller, run_id).info.artifact_uri
    except NotFound:
        return None
    return _Place(f"runs/{run_id}", folder, _joined(uri, folder))


def _joined(uri: str, folder: str) -> str:
    return f"{uri.rstrip('/')}/{folder}" if folder else uri


def _changes(found: ModelVersion, moved: MovedVersion) -> list[str]:
    parts = {
        "info": (found.description or "") != moved.description,
        "tags": any(found.tags.get(key) != value for key, value in moved.tags.items()),
        "stage": found.stage is not moved.stage,
    }
    return [name for name, differs in parts.items() if differs]


def _sync(
    tx: Tx, caller: Caller, found: ModelVersion, moved: MovedVersion, changed: Sequence[str], moving: Moving
) -> list[str]:
    """Bring a version to the source's state; returns why something stays as it is."""
    if "info" in changed:
        versions.describe(tx, caller, found.name, found.version, moved.description)
    for key, value in moved.tags.items():
        if found.tags.get(key) != value:
            versions.set_tag(tx, caller, found.name, found.version, key, value)
    skipped = _stage(tx, caller, found, moved, moving) if "stage" in changed else []
    if list(changed) != ["stage"] * bool(skipped):
        tx.run(_set_updated, {"version_": found.row, "updated": moved.updated_ms})
    return skipped


def _stage(tx: Tx, caller: Caller, found: ModelVersion, moved: MovedVersion, moving: Moving) -> list[str]:
    """Move a version to the source's stage; returns why it stays where it is."""
    try:
        versions.transition(tx, caller, found.name, found.version, moved.stage, override=moving.override)
    except ClosedError as error:
        gates.request(tx, caller, error.version)
        return [f"{found.name}/{found.version} is not in the stage {moved.stage.value}: {error.message}"]
    tx.run(_set_updated, {"version_": found.row, "updated": moved.updated_ms})
    return []


# --- aliases ----------------------------------------------------------------------------------------------------


def import_aliases(
    tx: Tx, caller: Caller, name: str, moved: Mapping[str, int], updated_ms: int, moving: Moving
) -> ImportedAliases:
    """Let aliases of a model lead where they lead at the source, as far as gates allow; others stay."""
    _check_times(updated_ms)
    for alias in moved:
        validation.check_new_alias(alias)
    model = models.find(tx, caller, name, Role.EDITOR)
    known = dict(tx.all(_aliases, {"model": model.row}))
    changed, skipped = [], []
    for alias, version in moved.items():
        if known.get(alias) == version:
            continue
        try:
            if not moving.dry:
                aliases.move(tx, caller, name, alias, version, override=moving.override)
            changed.append(alias)
        except ClosedError as error:
            gates.request(tx, caller, error.version)
            skipped.append(f"@{alias} does not lead to {name}/{version}: {error.message}")
        except NotFound:
            skipped.append(f"@{alias} does not lead to {name}/{version}: there is no such version here")
    if not moving.dry:
        times = {"created": model.created_ms, "updated": updated_ms}
        tx.run(_set_model_times, {"model_": model.row, **times})
    return ImportedAliases(changed, skipped)
