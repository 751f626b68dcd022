"""Releasing a version: the very same files become a version of a model in another project, a later environment.

Nothing is built again and nothing is copied: what was tested there is what is used here, by digest. Signatures come
along; whether they count is for the keys of the other project to say, and its gates ask their own questions.
"""

from typing import NamedTuple

import msgspec
from sqlalchemy import bindparam, select

from mlwright.artifacts.spec import root_path
from mlwright.kernel.errors import Conflict, Invalid, NotFound
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import models, registration, trust, versions
from mlwright.registry.service.facts import DESCRIPTION
from mlwright.registry.service.registration import Description
from mlwright.registry.service.sources import Source
from mlwright.registry.spec import ModelVersion, NewVersion
from mlwright.registry.tables import model_versions

_with_digest = Query(
    select(model_versions.c.version)
    .where(model_versions.c.model == bindparam("model"), model_versions.c.digest == bindparam("digest"))
    .order_by(model_versions.c.version.desc())
)


class Released(NamedTuple):
    """The version in the other project; `is_new` is False when it had been released there before."""

    version: ModelVersion
    is_new: bool


def release(
    tx: Tx, caller: Caller, name: str, number: int, project: str, to_project: str, to_name: str = ""
) -> Released:
    """Make a version one of `to_name` (the same name when empty) in `to_project` too; again does nothing more.

    The model is created there when there is none. Raises Invalid for a version that is not pinned and for a release to
    itself, Untrusted when it must not be loaded, Denied, NotFound.
    """
    tx.take_time()
    _, version = versions.find(tx, caller, name, number, Role.VIEWER, project)
    to_name = to_name or version.name
    if version.digest is None:
        raise Invalid(
            f"version {number} of {name!r} is not pinned: nobody can say what would be released",
            path="version",
            hint="register it from artifacts that are kept on this server",
        )
    if (to_project, to_name) == (version.project, version.name):
        raise Invalid("a version is released to another project or under another name", path="project")
    trust.require(tx, version)
    caller.require(to_project, Role.EDITOR)
    there = msgspec.structs.replace(caller, project=to_project)
    model = _model(tx, there, version, to_name)
    before = tx.one(_with_digest, {"model": model.row, "digest": version.digest})
    if before is not None:
        return Released(versions.get(tx, there, to_name, before[0]), False)
    return Released(_create(tx, there, version, to_name), True)


def _model(tx: Tx, caller: Caller, version: ModelVersion, name: str) -> models.Found:
    """The model in the other project, created when there is none."""
    try:
        return models.find(tx, caller, name, Role.EDITOR)
    except NotFound:
        description = models.get(tx, caller, version.name, version.project).description
        models.create(tx, caller, name, description or "")
        return models.find(tx, caller, name, Role.EDITOR)


def _create(tx: Tx, caller: Caller, version: ModelVersion, name: str) -> ModelVersion:
    uri = f"models:/{version.name}/{version.version}"
    folder = root_path(version.storage)
    source = Source(uri, version.run_id, version.model_id, version.storage, folder, version.row)
    new = NewVersion(
        name, uri, version.run_id, version.model_id, version.run_link or "", version.description or "", version.tags
    )
    described = next((file.digest for file in trust.files(tx, version) if file.path == DESCRIPTION), "")
    found = registration.create(tx, caller, new, Description(described, version.facts), source)
    if found.digest != version.digest:
        raise Conflict(f"the files of {version.name!r} version {version.version} are not those of its digest")
    data = {"project": version.project, "name": version.name, "version": version.version, "digest": version.digest}
    subject = f"model-version/{found.name}/{found.version}"
    tx.emit(Draft(caller.name, found.project, "registry.version.released", subject, {"from": data}))
    return found
