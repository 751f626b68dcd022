"""Registering a version: its files are pinned, and what is known about it is written down, in one transaction."""

import asyncio
import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
from sqlalchemy import bindparam, insert, update

from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import ArtifactFile
from mlwright.kernel import checks
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Conflict, Denied, NotFound
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.registry import validation
from mlwright.registry.service import facts, gates, models, pinning, sources, trust, versions
from mlwright.registry.service.pinning import Pinned
from mlwright.registry.service.sources import Source
from mlwright.registry.spec import TOLD, Facts, ModelVersion, NewVersion, Stage
from mlwright.registry.tables import model_versions, registered_models
from mlwright.tracking.service import lineage
from mlwright.tracking.service import models as logged_models
from mlwright.tracking.spec import Tag

#: The logged model's tag that says what it was registered as.
_VERSIONS_TAG = "mlflow.modelVersions"
_ATTEMPTS = 3
#: A description is parsed in a millisecond up to this length.
_BRIEF_BYTES = 4_096

T = TypeVar("T")

_insert = Query(
    insert(model_versions)
    .values({column.name: bindparam(column.name) for column in model_versions.c if column.name != "id"})
    .returning(model_versions.c.id)
)
_count = Query(
    update(registered_models)
    .where(registered_models.c.id == bindparam("model_"))
    .values(last_version=bindparam("number"), updated_ms=bindparam("now"))
)


class ReadFiles(Protocol):
    """Reads bytes that are not in the database; blocks."""

    def read(self, file: ArtifactFile, limit: int) -> bytes: ...


class UnreadError(Conflict):
    """The model's own description has not been read yet, and reading it takes time.

    Attributes:
        file: the description.
    """

    def __init__(self, source: str, file: ArtifactFile) -> None:
        super().__init__(f"The files of {source!r} change while they are registered", path="source")
        self.file = file


class Description(NamedTuple):
    """What a model's own description says, and the digest of the file that says it; empty when there is none."""

    digest: str = ""
    facts: Facts = Facts()


class Past(NamedTuple):
    """What a version keeps that was registered elsewhere, before now.

    Attributes:
        origin: the registry that it comes from, for the event.
    """

    number: int
    author: str
    created_ms: int
    updated_ms: int
    origin: str


async def register(database: Database, files: ReadFiles, caller: Caller, new: NewVersion) -> ModelVersion:
    """Register a version. Raises as `create` does; UnreadError only when its files change all the time."""
    return await describing(database, files, lambda tx, known: create(tx, caller, new, known))


async def describing(database: Database, files: ReadFiles, work: Callable[[Tx, Description], T]) -> T:
    """Do `work`, which creates a version, and again with the model's own description when that had to be read."""
    known = Description()
    for attempt in itertools.count(1):
        try:
            return await database.write(_with(work, known), brief=True)
        except UnreadError as error:
            if attempt == _ATTEMPTS:
                raise
            known = await asyncio.to_thread(_read, files, error.file)
    raise AssertionError  # unreachable: the loop returns or raises


def _with(work: Callable[[Tx, Description], T], known: Description) -> Callable[[Tx], T]:
    return lambda tx: work(tx, known)


def _read(files: ReadFiles, file: ArtifactFile) -> Description:
    return Description(file.digest, facts.of_description(files.read(file, facts.MAX_BYTES + 1)))


def create(
    tx: Tx, caller: Caller, new: NewVersion, known: Description, source: Source | None = None, past: Past | None = None
) -> ModelVersion:
    """Create the next version of a model, or the one that `past` is about, and pin its files.

    Args:
        known: what the model's own description says, if it was read before.
        source: where its files are, when that is known; otherwise what `new` says is checked.

    Raises UnreadError when the description is another one and not small, NotFound, Denied, and Invalid for a source
    that may not be registered.
    """
    _check(new)
    model = models.find(tx, caller, new.name, Role.EDITOR)
    source = source or sources.resolve(tx, caller, new)
    now = tx.now_ms()
    number, author, created, updated, _ = past or Past(model.last_version + 1, caller.name, now, now, "")
    pinned = _pin(tx, caller, source, pinning.folder(model.row, number), model.project)
    described = _described(tx, new, pinned, known)
    found = ModelVersion(
        row=0,
        name=model.name,
        project=model.project,
        version=number,
        source=source.uri,
        storage=pinned.uri,
        run_id=source.run_id,
        model_id=source.model_id,
        run_link=new.run_link,
        description=new.description,
        author=author,
        stage=Stage.NONE,
        digest=pinned.digest,
        size=pinned.size,
        files=len(pinned.files),
        facts=facts.complete(described, pinned.files, _lineage(tx, caller, source)),
        created_ms=created,
        updated_ms=updated,
        tags=new.tags,
    )
    internal = {"model": model.row, "copied_from": source.copied or None}
    row = tx.one(_insert, {**msgspec.structs.asdict(found), **_encoded(found), **internal})
    found = msgspec.structs.replace(found, row=int(row[0]) if row else 0)
    versions.add_tags(tx, found.row, new.tags)
    tx.run(_count, {"model_": model.row, "number": max(number, model.last_version), "now": now})
    if past is None:  # a logged model that was moved in says already what it was registered as
        _link(tx, caller, new, source, number)
    if source.copied:
        trust.copy(tx, source.copied, found.row)
    _emit(tx, caller, found, past)
    gates.request(tx, caller, found)
    return found


def _check(new: NewVersion) -> None:
    validation.check_model_name(new.name)
    validation.check_tags(new.tags)
    checks.check_length("description", new.description, validation.MAX_TEXT_LENGTH)
    checks.check_length("source", new.source, validation.MAX_SOURCE_LENGTH)
    checks.check_length("run_link", new.run_link, validation.MAX_SOURCE_LENGTH)


def _pin(tx: Tx, caller: Caller, source: Source, target: str, project: str) -> Pinned:
    """The pinned files; none, and the source's own place, when they are not kept here."""
    found = pinning.pin(tx, caller, source.folder, target, project) if source.folder is not None else None
    return found or Pinned(source.storage, None, 0, ())


def _described(tx: Tx, new: NewVersion, pinned: Pinned, known: Description) -> Facts:
    """What the model says about itself; nothing when it says nothing."""
    file = next((file for file in pinned.files if file.path == facts.DESCRIPTION), None)
    if file is None:
        return Facts()
    if file.digest == known.digest:
        return known.facts
    content = artifacts.content(tx, file.digest)
    if content is None:
        raise UnreadError(new.source, file)
    if len(content) > _BRIEF_BYTES:
        tx.take_time()
    return facts.of_description(content)


def _lineage(tx: Tx, caller: Caller, source: Source) -> lineage.Lineage | None:
    """The run's lineage; None when the run is unknown here, which MLflow does not mind for files kept elsewhere."""
    try:
        return lineage.of_run(tx, caller, source.run_id) if source.run_id else None
    except NotFound:
        return None


def _encoded(found: ModelVersion) -> dict[str, Any]:
    facts_text = msgspec.json.encode(found.facts).decode()
    return {"stage": found.stage.value, "facts": facts_text, "run_id": found.run_id or ""}


def _link(tx: Tx, caller: Caller, new: NewVersion, source: Source, number: int) -> None:
    """Note on the logged model what it was registered as, if the caller may change it. Copies are not noted."""
    if not source.model_id or source.copied or new.is_prompt:
        return
    model = logged_models.get(tx, caller, source.model_id)
    before = next((tag.value for tag in model.tags if tag.key == _VERSIONS_TAG), "[]")
    listed = [*_list(before), {"name": new.name, "version": number}]
    with suppress(Denied):  # who may read a model may register it elsewhere
        logged_models.set_tags(tx, caller, source.model_id, [Tag(_VERSIONS_TAG, json.dumps(listed))])


def _list(text: str) -> list[Any]:
    """The list that a tag holds; clients can write anything there."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return []
    return found if isinstance(found, list) else []


def _emit(tx: Tx, caller: Caller, found: ModelVersion, past: Past | None) -> None:
    names = ("source", "run_id", "model_id", "digest", "size", "files", "description", "tags")
    subject, data = f"model-version/{found.name}/{found.version}", {name: getattr(found, name) for name in names}
    tx.topics |= {TOLD, models.topic(found.project, found.name)}
    if past is None:
        tx.emit(Draft(caller.name, found.project, "registry.version.created", subject, data))
        return
    data |= {"origin": past.origin, "author": past.author}
    tx.emit(Draft(caller.name, found.project, "registry.version.imported", subject, data))
