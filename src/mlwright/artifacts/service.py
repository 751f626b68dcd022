"""The verbs of artifacts: names for blobs, in folders that belong to projects.

A small file's bytes and name are written in one transaction; those of a larger one are stored first and named
afterwards. So a name always leads to a whole blob.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, func, select

from mlwright.artifacts.spec import ArtifactFile, FileInfo, Owners, Part, root_path, safe_path
from mlwright.artifacts.tables import artifact_contents, artifact_files, artifact_parts
from mlwright.kernel import events
from mlwright.kernel.blobs import Blob
from mlwright.kernel.errors import Denied, Invalid, NotFound
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert

#: After "/" in ASCII: the upper end of everything below a folder.
_AFTER_SLASH = "0"
_MAX_ENTRIES = 100_000
_ENTRIES_TOGETHER = 100
#: So many names are given in well under a millisecond.
_BRIEF_FILES = 30
MAX_PARTS = 10_000
#: What the event of a new or replaced file is called.
_STORED = "artifacts.file.stored"
_EVENTS_TOGETHER = 5_000

_files = artifact_files.c
_parts = artifact_parts.c
_contents = artifact_contents.c
_get = Query(select(*_files).where(_files.path == bindparam("path")))
_get_whole = Query(
    select(*_files, _contents.data)
    .join_from(artifact_files, artifact_contents, _contents.digest == _files.digest, isouter=True)
    .where(_files.path == bindparam("path"))
)
_put = Query(
    upsert(artifact_files)
    .values({column.name: bindparam(column.name) for column in _files})
    .on_conflict_do_update(
        index_elements=["path"],
        set_={name: upsert(artifact_files).excluded[name] for name in ("digest", "size", "created_ms")},
    )
)
_below = Query(
    select(_files.path, _files.size)
    .where(_files.path >= bindparam("first"), _files.path < bindparam("end"))
    .order_by(_files.path)
    .limit(bindparam("limit"))
)
_all_below = Query(
    select(*_files).where(_files.path >= bindparam("first"), _files.path < bindparam("end")).order_by(_files.path)
)
_delete_below = Query(delete(artifact_files).where(_files.path >= bindparam("first"), _files.path < bindparam("end")))
_put_content = Query(
    upsert(artifact_contents)
    .values(digest=bindparam("digest"), data=bindparam("data"))
    .on_conflict_do_nothing(index_elements=["digest"])
)
_content = Query(select(_contents.data).where(_contents.digest == bindparam("digest")))
_small = Query(
    select(_contents.digest, func.length(_contents.data))
    .where(_contents.digest > bindparam("after"))
    .order_by(_contents.digest)
    .limit(bindparam("limit"))
)
_delete_content = Query(delete(artifact_contents).where(_contents.digest == bindparam("digest_")))
_delete_one = Query(delete(artifact_files).where(_files.path == bindparam("path_")))
_put_part = Query(
    upsert(artifact_parts)
    .values({column.name: bindparam(column.name) for column in _parts})
    .on_conflict_do_update(
        index_elements=["upload_id", "part"],
        set_={name: upsert(artifact_parts).excluded[name] for name in ("digest", "size")},
    )
)
_parts_of = Query(
    select(_parts.part, _parts.path, _parts.digest, _parts.size)
    .where(_parts.upload_id == bindparam("upload_id"))
    .order_by(_parts.part)
)
_silent_uploads = Query(
    select(_parts.upload_id).group_by(_parts.upload_id).having(func.max(_parts.created_ms) < bindparam("before"))
)
_delete_parts = Query(delete(artifact_parts).where(_parts.upload_id == bindparam("upload_id_")))


class _Stored(msgspec.Struct):
    """What the event of a stored file says; `after` when it replaced another."""

    digest: str = ""
    after: "_Stored | None" = None


def place(tx: Tx, caller: Caller, owners: Owners, path: str) -> str:
    """The project that a new file at `path` belongs to.

    Raises Denied, NotFound for what the caller cannot see, and Immutable for what nobody can change.
    """
    project = owners.project_of(tx, path)
    if project is None or not caller.may(project, Role.VIEWER):
        raise NotFound(f"No experiment keeps its artifacts in {path.partition('/')[0]!r}", path="path")
    caller.require(project, Role.EDITOR)
    owners.require_changeable(tx, path)
    return project


def put(tx: Tx, caller: Caller, owners: Owners, path: str, blob: Blob, content: bytes | None = None) -> ArtifactFile:
    """Give a blob the name `path`; a file that had it is replaced.

    Args:
        content: the bytes of a small blob; None for one that is in the store.
    """
    project = place(tx, caller, owners, path)
    before = tx.one(_get, {"path": path})
    if before is not None and before[1] != project:
        raise Denied(f"The file {path!r} belongs to another project", path="path")
    file = ArtifactFile(path, project, blob.digest, blob.size, tx.now_ms())
    if before is None:
        _check_folders(tx, path)
    tx.run(_put, _row(file))
    if content is not None:
        tx.run(_put_content, {"digest": blob.digest, "data": content})
    data: dict[str, object] = {"digest": blob.digest, "size": blob.size}
    if before is not None:
        data = {"before": {"digest": before[2], "size": before[3]}, "after": data}
    tx.emit(Draft(caller.name, project, "artifacts.file.stored", f"artifact/{path}", data))
    return file


def _row(file: ArtifactFile) -> dict[str, Any]:
    return {
        "path": file.path,
        "project": file.project,
        "digest": file.digest,
        "size": file.size,
        "created_ms": file.created_ms,
    }


def _check_folders(tx: Tx, path: str) -> None:
    """A new name is a file or a folder, not both. What is in a folder already has shown that it is one."""
    folder = path.rpartition("/")[0]
    while folder and not _is_folder(tx, folder):
        if tx.one(_get, {"path": folder}) is not None:
            raise Invalid(f"{folder!r} is a file; it cannot hold {path!r}", path="path")
        folder = folder.rpartition("/")[0]
    if _is_folder(tx, path):
        raise Invalid(f"{path!r} is a folder; it cannot be overwritten by a file", path="path")


def _is_folder(tx: Tx, path: str) -> bool:
    return tx.one(_below, {"first": f"{path}/", "end": f"{path}{_AFTER_SLASH}", "limit": 1}) is not None


def get(tx: Tx, caller: Caller, path: str) -> ArtifactFile:
    """The file at `path`, with its content when it is small. Raises NotFound; also for a folder."""
    row = tx.one(_get_whole, {"path": path})
    if row is None or not caller.may(row[1], Role.VIEWER):
        raise NotFound(f"No such artifact: '{path}'", path="path")
    return ArtifactFile(*row)


def content(tx: Tx, digest: str) -> bytes | None:
    """The bytes of a small blob, whoever asks; None for one that is in the store."""
    row = tx.one(_content, {"digest": digest})
    return bytes(row[0]) if row else None


def entries(tx: Tx, caller: Caller, owners: Owners, path: str) -> list[FileInfo]:
    """Files and folders directly in `path`, by name; nothing when there is no such folder, or it is a file."""
    project = owners.project_of(tx, path) if path else None
    if project is not None and not caller.may(project, Role.VIEWER):
        return []
    if project is None and not caller.may("", Role.VIEWER):
        return []
    prefix = f"{path}/" if path else ""
    end = f"{path}{_AFTER_SLASH}" if path else "\U0010ffff"
    found: list[FileInfo] = []
    first = prefix
    while len(found) < _MAX_ENTRIES:
        rows = tx.all(_below, {"first": first, "end": end, "limit": _ENTRIES_TOGETHER})
        for file, size in rows:
            if file < first:  # in a folder that was met already
                continue
            name, separator, _ = file.removeprefix(prefix).partition("/")
            full = prefix + name
            found.append(FileInfo(full, is_dir=True) if separator else FileInfo(full, is_dir=False, size=size))
            first = f"{full}{_AFTER_SLASH}" if separator else f"{full}\x01"
        if len(rows) < _ENTRIES_TOGETHER:
            break
    return sorted(found, key=lambda each: each.path)


def below(tx: Tx, caller: Caller, owners: Owners, path: str) -> list[ArtifactFile]:
    """All files in a folder and the folders in it, by path; nothing for what the caller may not see."""
    project = owners.project_of(tx, path)
    if project is None or not caller.may(project, Role.VIEWER):
        return []
    return inside(tx, path)


def inside(tx: Tx, path: str) -> list[ArtifactFile]:
    """All files in a folder and the folders in it, by path, whoever asks."""
    rows = tx.all(_all_below, {"first": f"{path}/", "end": f"{path}{_AFTER_SLASH}"})
    return [ArtifactFile(*row) for row in rows]


def remove(tx: Tx, caller: Caller, owners: Owners, path: str) -> int:
    """Remove the file at `path`, or the folder with all in it. Returns how many files went."""
    project = place(tx, caller, owners, path)
    count = tx.run(_delete_one, {"path_": path})
    count += tx.run(_delete_below, {"first": f"{path}/", "end": f"{path}{_AFTER_SLASH}"})
    if count:
        tx.emit(Draft(caller.name, project, "artifacts.removed", f"artifact/{path}", {"files": count}))
    return count


def link(tx: Tx, caller: Caller, source: str, target: str, project: str) -> list[ArtifactFile]:
    """Give every file below the folder `source` a second name at the same place below `target`; no bytes are copied.

    Args:
        target: a folder that nothing lies in.
        project: what the new names belong to.

    Returns the new files, by path. Raises NotFound when the caller may not see a file of `source`.
    """
    rows = tx.all(_all_below, {"first": f"{source}/", "end": f"{source}{_AFTER_SLASH}"})
    if len(rows) > _BRIEF_FILES:
        tx.take_time()
    if not all(caller.may(owner, Role.VIEWER) for owner in {row[1] for row in rows}):
        raise NotFound(f"No such artifact: '{source}'", path="path")
    now = tx.now_ms()
    files = [
        ArtifactFile(target + path.removeprefix(source), project, digest, size, now)
        for path, _, digest, size, _ in rows
    ]
    tx.many(_put, [_row(file) for file in files])
    return files


def keep(tx: Tx, path: str, project: str, blob: Blob, content: bytes | None = None) -> None:
    """Give a blob a name in a folder that a slice looks after itself; there is none of that name yet.

    Args:
        content: the bytes of a small blob; None for one that is in the store.
    """
    tx.run(_put, _row(ArtifactFile(path, project, blob.digest, blob.size, tx.now_ms())))
    if content is not None:
        tx.run(_put_content, {"digest": blob.digest, "data": content})


def purge(tx: Tx, path: str) -> int:
    """Forget all files below a folder, for good. Returns how many. Their blobs are collected later."""
    return tx.run(_delete_below, {"first": f"{path}/", "end": f"{path}{_AFTER_SLASH}"})


def forget_uploads(tx: Tx, before_ms: int) -> int:
    """Forget multipart uploads without a part since `before_ms`. Returns how many."""
    rows = tx.all(_silent_uploads, {"before": before_ms})
    tx.many(_delete_parts, [{"upload_id_": row[0]} for row in rows])
    return len(rows)


def named(tx: Tx, digests: Sequence[str]) -> set[str]:
    """Those of at most 30,000 blobs that a file or a part of an upload in progress needs.

    Looks at every file that there is: only garbage collection asks, and an index would cost each upload a page.
    """
    found = {row[0] for row in tx.select(select(_files.digest).where(_files.digest.in_(digests)))}
    return found | {row[0] for row in tx.select(select(_parts.digest).where(_parts.digest.in_(digests)))}


def unnamed(tx: Tx, after: str, limit: int) -> list[Blob]:
    """Small blobs in the database that no file needs, in the order of their digests behind `after`.

    Args:
        limit: so many blobs, at most 30,000, are looked at together.

    Returns those of the first so many among which there are any; none at the end.
    """
    while rows := tx.all(_small, {"after": after, "limit": limit}):
        needed = named(tx, [digest for digest, _ in rows])
        found = [Blob(*row) for row in rows if row[0] not in needed]
        if found:
            return found
        after = rows[-1][0]
    return []


def forget(tx: Tx, blobs: Sequence[Blob], since: int) -> list[Blob]:
    """Remove the bytes of small blobs for good, unless a file needs them meanwhile. Returns which went.

    Args:
        blobs: what no file needed.
        since: sequence number of the newest event when that was so. Files that came later are in the log; second
            names (`link`) lead to what had a name.
    """
    needed = _stored_since(tx, since)
    gone = [blob for blob in blobs if blob.digest not in needed]
    for blob in gone:
        tx.run(_delete_content, {"digest_": blob.digest})
    return gone


def _stored_since(tx: Tx, seq: int) -> set[str]:
    found: set[str] = set()
    while batch := events.read(tx, seq, _EVENTS_TOGETHER):
        stored = (msgspec.json.decode(each.data, type=_Stored) for each in batch if each.type == _STORED)
        found |= {data.after.digest if data.after else data.digest for data in stored}
        seq = batch[-1].seq
    return found


def resolve(root_uri: str, relative: str, *, empty: bool = False) -> str:
    """The path of a file below a run's or model's artifact URI.

    Raises Invalid for unsafe paths and for artifacts that are not stored here.
    """
    safe = safe_path(relative, empty=empty)
    root = root_path(root_uri)
    if root is None:
        raise Invalid(f"The artifacts at {root_uri!r} are not stored on this server", path="artifact_uri")
    return f"{root}/{safe}" if safe else root


# --- multipart uploads --------------------------------------------------------------------------------------------


def start_upload(tx: Tx, caller: Caller, owners: Owners, path: str) -> str:
    """Begin a multipart upload to `path`. Returns its id, which is also the right to upload its parts."""
    place(tx, caller, owners, path)
    upload_id = tx.ids.hex32()
    tx.run(_put_part, _part_row(upload_id, 0, path, Blob("", 0), tx.now_ms()))
    return upload_id


def put_part(tx: Tx, upload_id: str, number: int, blob: Blob) -> None:
    """Record part `number` (1 to 10,000). Raises NotFound for an upload that is not in progress."""
    if not 1 <= number <= MAX_PARTS:
        raise Invalid(f"Part numbers go from 1 to {MAX_PARTS}, not {number}", path="part_number")
    path = _upload(tx, upload_id)[0][1]
    tx.run(_put_part, _part_row(upload_id, number, path, blob, tx.now_ms()))


def parts(tx: Tx, upload_id: str, path: str, wanted: Sequence[Part]) -> list[Blob]:
    """The blobs of the wanted parts, in order. Raises Invalid when one is missing or not what was uploaded."""
    rows = _upload(tx, upload_id)
    if rows[0][1] != path:
        raise Invalid(f"Upload {upload_id} does not belong to {path!r}", path="upload_id")
    if len({part.number for part in wanted}) < len(wanted):  # else a few bytes fill the disk
        raise Invalid("A part can be in an upload only once", path="parts")
    stored = {row[0]: Blob(row[2], row[3]) for row in rows[1:]}
    found = []
    for part in sorted(wanted, key=lambda each: each.number):
        blob = stored.get(part.number)
        if blob is None or (part.etag and part.etag.strip('"') != blob.digest):
            raise Invalid(f"Part {part.number} was not uploaded, or with other content", path="parts")
        found.append(blob)
    return found


def end_upload(tx: Tx, caller: Caller, owners: Owners, upload_id: str) -> None:
    """Forget an upload: it is completed or aborted. Its parts are collected as garbage."""
    rows = _upload(tx, upload_id)
    place(tx, caller, owners, rows[0][1])
    tx.run(_delete_parts, {"upload_id_": upload_id})


def _upload(tx: Tx, upload_id: str) -> list[tuple[Any, ...]]:
    rows = tx.all(_parts_of, {"upload_id": upload_id})
    if not rows:
        raise NotFound(f"There is no multipart upload {upload_id!r}", path="upload_id")
    return rows


def _part_row(upload_id: str, number: int, path: str, blob: Blob, now_ms: int) -> dict[str, Any]:
    return {
        "upload_id": upload_id,
        "part": number,
        "path": path,
        "digest": blob.digest,
        "size": blob.size,
        "created_ms": now_ms,
    }


def upload_path(tx: Tx, upload_id: str) -> str:
    """The path that a multipart upload in progress leads to. Raises NotFound."""
    path: str = _upload(tx, upload_id)[0][1]
    return path
