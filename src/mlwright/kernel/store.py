"""The resource store: apply, get, list, watch, delete. Every mutation drafts its event in the same transaction."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Table, UniqueConstraint, bindparam, delete, insert, select, update

from mlwright.kernel import events, selector
from mlwright.kernel.columns import METADATA, Int64, String, key, optional, required
from mlwright.kernel.errors import Conflict, NotFound
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import DEFAULT_PROJECT, Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.resources import API_VERSION, Kind, Manifest, Metadata, OwnerReference, Resource, Status
from mlwright.kernel.transaction import Tx

#: Kind of the resources that stand for projects: the kernel knows it, because all others lie in one.
PROJECT = "Project"
TOPIC = "resources"

resources = Table(
    "resources",
    METADATA,
    key("kind", String),
    key("project", String),
    key("name", String),
    required("uid", String),
    required("generation", Int64),
    required("version", Int64),  # grows with each change, also beyond a deletion
    required("labels", String),  # JSON object of strings, as are the annotations
    required("annotations", String),
    required("owner_references", String),  # JSON array of {"kind", "name", "uid"}
    required("finalizers", String),  # JSON array of strings
    required("created_ms", Int64),
    optional("deleted_ms", Int64),  # set while finalizers hold the resource back
    required("spec", String),  # JSON object
    required("status", String),  # JSON object
    UniqueConstraint("uid", name="uq_resources_uid"),
    sqlite_with_rowid=False,
)

_columns = resources.c
_get = Query(
    select(*_columns).where(
        _columns.kind == bindparam("kind"),
        _columns.project == bindparam("project"),
        _columns.name == bindparam("name"),
    )
)
_list = Query(select(*_columns).where(_columns.kind == bindparam("kind")).order_by(_columns.project, _columns.name))
_insert = Query(insert(resources).values({column.name: bindparam(column.name) for column in _columns}))
_KEPT = ("kind", "project", "name", "uid", "created_ms")
_update = Query(
    update(resources)
    .where(_columns.uid == bindparam("uid_"))
    .values({column.name: bindparam(f"{column.name}_") for column in _columns if column.name not in _KEPT})
)
_delete = Query(delete(resources).where(_columns.uid == bindparam("uid_")))


class Applied(msgspec.Struct, frozen=True):
    """What `apply` did ("created", "updated" or "unchanged"), and the resource after it."""

    action: str
    resource: Resource


class Change(msgspec.Struct, frozen=True):
    """One change of a resource. `type` is ADDED, MODIFIED or DELETED; `resource` is as after it, or as last seen."""

    seq: int
    type: str
    resource: Resource


class Watched(msgspec.Struct, frozen=True):
    """Changes, and the sequence number to go on from."""

    seq: int
    changes: list[Change]


def apply(tx: Tx, caller: Caller, kind: Kind, manifest: Manifest, *, dry_run: bool = False) -> Applied:
    """Make the stored resource what the manifest says: create it, change it, or leave it.

    The spec is replaced as a whole; labels, annotations, owners and finalizers that the manifest does not name stay.
    With a `resourceVersion` or `uid` the resource must still be that one. `dry_run` only says what would happen.

    Raises Invalid, Denied, NotFound for an unknown project, Conflict when the resource changed meanwhile.
    """
    project = _home(caller, kind, manifest.metadata.name, manifest.metadata.project)
    before = _load(tx, kind, project, manifest.metadata.name)
    _require_writable(tx, caller, kind, project, before)
    _check_unchanged(manifest.metadata, before)
    spec = kind.validated(manifest.spec)
    after = _created(tx, kind, project, manifest, spec) if before is None else _changed(before, manifest, spec)
    if after == before:
        return Applied("unchanged", after)
    if kind.before_save is not None and not dry_run:
        kind.before_save(tx, after)
    if before is not None:
        after = _versioned(tx, after)
    if before is None:
        if not dry_run:
            tx.run(_insert, _row(after))
            _emit(tx, caller, "created", None, after)
        return Applied("created", after)
    if not dry_run:
        _save(tx, caller, kind, before, after)
    return Applied("updated", after)


def get(tx: Tx, caller: Caller, kind: Kind, name: str, project: str = "") -> Resource:
    """One resource. Raises NotFound, also when the caller may not see it."""
    project = _home(caller, kind, name, project)
    found = _load(tx, kind, project, name) if caller.may(project, Role.VIEWER) else None
    if found is None:
        raise NotFound(f"there is no {kind.name} {name!r}{_within(kind, project)}", path="name")
    return found


def list_all(tx: Tx, caller: Caller, kind: Kind, project: str = "", labels: str = "") -> list[Resource]:
    """The resources of a kind that the caller may see, by project and name.

    Args:
        project: only of this one, unless empty.
        labels: a label selector.
    """
    requirements = selector.parse(labels)
    found = [_resource(row) for row in tx.all(_list, {"kind": kind.name})]
    return [
        each
        for each in found
        if caller.may(each.metadata.project, Role.VIEWER)
        and project in {"", each.metadata.project}
        and selector.matches(requirements, each.metadata.labels or {})
    ]


def remove(tx: Tx, caller: Caller, kind: Kind, name: str, project: str = "", version: str = "") -> Resource | None:
    """Delete a resource. One with finalizers is only marked, and goes when the last finalizer is taken off.

    Returns the marked resource, or None when it is gone. Raises NotFound, Denied, Conflict.
    """
    before = get(tx, caller, kind, name, project)
    _require_removable(caller, kind, before.metadata.project)
    _check_unchanged(Metadata(name, resource_version=version), before)
    if before.metadata.deletion_timestamp:
        return before
    if kind.before_delete is not None:
        kind.before_delete(tx, before)
    if not before.metadata.finalizers:
        _drop(tx, caller, before)
        return None
    after = _versioned(tx, _with(before, deletion_timestamp=timestamp(tx.now_ms())))
    tx.run(_update, _changes(after))
    _emit(tx, caller, "deleting", before, after)
    return after


def set_status(tx: Tx, caller: Caller, kind: Kind, name: str, status: Status, project: str = "") -> Resource:
    """Record what a controller observed; the spec and its generation stay. Raises NotFound, Denied."""
    before = get(tx, caller, kind, name, project)
    caller.require(before.metadata.project, Role.EDITOR)
    if before.status == status:
        return before
    after = _versioned(tx, msgspec.structs.replace(before, status=status))
    tx.run(_update, _changes(after))
    _emit(tx, caller, "status_set", before, after)
    return after


def watch(tx: Tx, caller: Caller, kind: Kind, from_seq: int, limit: int = 1_000) -> Watched:
    """What happened to the resources of a kind after event `from_seq`, as far as the caller may see it.

    Args:
        limit: most events of the log to look through; go on from the returned `seq`.
    """
    prefix = f"{kind.name.lower()}/"
    changes = []
    page = events.read(tx, from_seq, limit)
    for event in page:
        if not event.type.startswith("resource.") or not event.subject.startswith(prefix):
            continue
        if caller.may(event.project, Role.VIEWER):
            data = msgspec.json.decode(event.data, type=_Recorded)
            word = {"created": "ADDED", "deleted": "DELETED"}.get(event.type.removeprefix("resource."), "MODIFIED")
            shown = data.after or data.before
            assert shown is not None
            changes.append(Change(event.seq, word, shown))
    return Watched(page[-1].seq if page else from_seq, changes)


class _Recorded(msgspec.Struct):
    before: Resource | None
    after: Resource | None


def exists(tx: Tx, kind: Kind, project: str, name: str) -> bool:
    """Whether there is such a resource, whoever asks."""
    return tx.one(_get, {"kind": kind.name, "project": project, "name": name}) is not None


def project_spec(tx: Tx, name: str) -> dict[str, Any] | None:
    """The spec of a project, whoever asks; None when there is no such project."""
    found = _load_row(tx, PROJECT, name, name)
    return found.spec if found else None


def require_project(tx: Tx, name: str) -> None:
    """Raises NotFound when there is no such project."""
    if tx.one(_get, {"kind": PROJECT, "project": name, "name": name}) is None:
        raise NotFound(f"There is no project {name!r}", path="project", hint=f"mlwright projects create {name}")


# --- rules --------------------------------------------------------------------------------------------------------


def _home(caller: Caller, kind: Kind, name: str, project: str) -> str:
    """The project that a resource lies in."""
    return name if kind.is_project else project or caller.project or DEFAULT_PROJECT


def _within(kind: Kind, project: str) -> str:
    return "" if kind.is_project else f" in project {project!r}"


def _require_writable(tx: Tx, caller: Caller, kind: Kind, project: str, before: Resource | None) -> None:
    if kind.is_project:
        if before is None or not caller.may(project, Role.VIEWER):  # one that may not be seen is as if not there
            caller.require_server_admin()
        else:
            caller.require(project, Role.ADMIN)
        return
    caller.require(project, kind.changed_by)
    require_project(tx, project)


def _require_removable(caller: Caller, kind: Kind, project: str) -> None:
    if kind.is_project:
        caller.require_server_admin()
    else:
        caller.require(project, kind.changed_by)


def _check_unchanged(wanted: Metadata, before: Resource | None) -> None:
    """The resource must be the one, and in the state, that the caller saw."""
    if before is None:
        if wanted.resource_version or wanted.uid:
            raise Conflict(f"{wanted.name!r} was deleted since you read it", path="metadata.uid")
        return
    found = before.metadata
    if wanted.uid and wanted.uid != found.uid:
        raise Conflict(f"{wanted.name!r} is another one than you read", path="metadata.uid", hint="read it again")
    if wanted.resource_version and wanted.resource_version != found.resource_version:
        raise Conflict(
            f"{wanted.name!r} changed since you read it", path="metadata.resourceVersion", hint="read it again"
        )


def _created(tx: Tx, kind: Kind, project: str, manifest: Manifest, spec: dict[str, Any]) -> Resource:
    now = tx.now_ms()
    given = manifest.metadata
    metadata = Metadata(
        name=given.name,
        project=project,
        uid=tx.ids.hex32(),
        generation=1,
        resource_version=str(now),
        labels=given.labels or None,
        annotations=given.annotations or None,
        owner_references=given.owner_references or None,
        finalizers=given.finalizers or None,
        creation_timestamp=timestamp(now),
    )
    return Resource(API_VERSION, kind.name, metadata, spec, Status())


def _changed(before: Resource, manifest: Manifest, spec: dict[str, Any]) -> Resource:
    given, old = manifest.metadata, before.metadata
    if old.deletion_timestamp and set(given.finalizers or ()) - set(old.finalizers or ()):
        raise Conflict(f"{old.name!r} is being deleted; it takes no new finalizers", path="metadata.finalizers")
    names = ("labels", "annotations", "owner_references", "finalizers")
    named = {name: getattr(given, name) or None for name in names if getattr(given, name) is not None}
    generation = old.generation + (spec != before.spec)
    after = _with(before, generation=generation, **named)
    return msgspec.structs.replace(after, spec=spec)


def _with(resource: Resource, **metadata: Any) -> Resource:
    return msgspec.structs.replace(resource, metadata=msgspec.structs.replace(resource.metadata, **metadata))


def _versioned(tx: Tx, resource: Resource) -> Resource:
    """With a new version. It follows the clock, so that a resource made again never has an old one's version."""
    return _with(resource, resource_version=str(max(int(resource.metadata.resource_version) + 1, tx.now_ms())))


def _save(tx: Tx, caller: Caller, kind: Kind, before: Resource, after: Resource) -> None:
    if after.metadata.deletion_timestamp and not after.metadata.finalizers:
        _drop(tx, caller, before)
        return
    tx.run(_update, _changes(after))
    _emit(tx, caller, "updated", before, after)


def _drop(tx: Tx, caller: Caller, before: Resource) -> None:
    tx.run(_delete, {"uid_": before.metadata.uid})
    _emit(tx, caller, "deleted", before, None)


def _emit(tx: Tx, caller: Caller, what: str, before: Resource | None, after: Resource | None) -> None:
    shown = after or before
    assert shown is not None
    subject = f"{shown.kind.lower()}/{shown.metadata.name}"
    data = {"before": msgspec.to_builtins(before), "after": msgspec.to_builtins(after)}
    tx.topics.add(TOPIC)
    tx.emit(Draft(caller.name, shown.metadata.project, f"resource.{what}", subject, data))


# --- rows ---------------------------------------------------------------------------------------------------------


def _load(tx: Tx, kind: Kind, project: str, name: str) -> Resource | None:
    return _load_row(tx, kind.name, project, name)


def _load_row(tx: Tx, kind: str, project: str, name: str) -> Resource | None:
    row = tx.one(_get, {"kind": kind, "project": project, "name": name})
    return _resource(row) if row else None


def _resource(row: tuple[Any, ...]) -> Resource:
    values: dict[str, Any] = dict(zip(_columns.keys(), row, strict=True))
    decode = msgspec.json.decode
    metadata = Metadata(
        name=values["name"],
        project=values["project"],
        uid=values["uid"],
        generation=values["generation"],
        resource_version=str(values["version"]),
        labels=decode(values["labels"]) or None,
        annotations=decode(values["annotations"]) or None,
        owner_references=decode(values["owner_references"], type=list[OwnerReference]) or None,
        finalizers=decode(values["finalizers"]) or None,
        creation_timestamp=timestamp(values["created_ms"]),
        deletion_timestamp="" if values["deleted_ms"] is None else timestamp(values["deleted_ms"]),
    )
    return Resource(
        API_VERSION, values["kind"], metadata, decode(values["spec"]), decode(values["status"], type=Status)
    )


def _row(resource: Resource) -> dict[str, Any]:
    found = resource.metadata
    return {
        "kind": resource.kind,
        "project": found.project,
        "name": found.name,
        "uid": found.uid,
        "generation": found.generation,
        "version": int(found.resource_version),
        "labels": _text(found.labels or {}),
        "annotations": _text(found.annotations or {}),
        "owner_references": _text(found.owner_references or []),
        "finalizers": _text(found.finalizers or []),
        "created_ms": milliseconds(found.creation_timestamp),
        "deleted_ms": milliseconds(found.deletion_timestamp) if found.deletion_timestamp else None,
        "spec": _text(resource.spec),
        "status": _text(resource.status),
    }


def _changes(resource: Resource) -> Mapping[str, Any]:
    """The values of `_update`: of all columns that can change, and of the uid that names the row."""
    kept = {"kind", "project", "name", "created_ms"}
    return {f"{name}_": value for name, value in _row(resource).items() if name not in kept}


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def timestamp(milliseconds: int) -> str:
    """Unix time as RFC 3339 has it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def milliseconds(timestamp: str) -> int:
    """An RFC 3339 time as Unix milliseconds."""
    return round(datetime.fromisoformat(timestamp).timestamp() * 1000)
