"""Renaming a model, which gate policies know by its name: nothing comes to lead past a closed gate by it."""

from collections.abc import Iterator

from sqlalchemy import bindparam, select, update

from mlwright.kernel.errors import AlreadyExists, GateClosed
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.registry import validation
from mlwright.registry.service import gates, models, rows
from mlwright.registry.service.models import Found
from mlwright.registry.spec import TOLD, ModelVersion, RegisteredModel, Stage
from mlwright.registry.tables import model_aliases, model_versions, registered_models

_models, _versions, _aliases = registered_models.c, model_versions.c, model_aliases.c
_taken = Query(select(_models.id).where(_models.project == bindparam("project"), _models.name == bindparam("name")))
_rename = Query(
    update(registered_models)
    .where(_models.id == bindparam("model_"))
    .values(name=bindparam("new_name"), updated_ms=bindparam("now"))
)
_rename_versions = Query(
    update(model_versions)
    .where(_versions.model == bindparam("model_"))
    .values(name=bindparam("new_name"), updated_ms=bindparam("now"))
)
_whole = (*rows.VERSION_COLUMNS, _versions.facts, _versions.model)
_aliased = Query(
    select(_aliases.alias, *_whole)
    .join(model_versions, (_versions.model == _aliases.model) & (_versions.version == _aliases.version))
    .where(_aliases.model == bindparam("model"))
    .order_by(_aliases.alias)
)
_staged = Query(
    select(*_whole)
    .where(_versions.model == bindparam("model"), _versions.stage != Stage.NONE.value)
    .order_by(_versions.version)
)


def rename(tx: Tx, caller: Caller, name: str, new_name: str, project: str = "") -> RegisteredModel:
    """Give the model and its versions another name.

    Raises AlreadyExists, and GateClosed when a policy that is about the new name only guards what leads to a version.
    """
    validation.check_model_name(new_name, "new_name")
    found, now = models.find(tx, caller, name, Role.EDITOR, project), tx.now_ms()
    taken = tx.one(_taken, {"project": found.project, "name": new_name})
    if taken is not None and taken[0] != found.row:
        raise AlreadyExists(
            f"Registered Model (name={new_name}) already exists.", path="new_name", hint="choose another name"
        )
    _guard(tx, found, new_name)
    values = {"model_": found.row, "new_name": new_name, "now": now}
    tx.run(_rename, values)
    tx.run(_rename_versions, values)
    data = {"before": {"name": name}, "after": {"name": new_name}}
    tx.topics |= {TOLD, models.topic(found.project, new_name)}
    tx.emit(Draft(caller.name, found.project, "registry.model.renamed", f"registered-model/{new_name}", data))
    return rows.models(tx, [found._replace(name=new_name, updated_ms=now)])[0]


def _guard(tx: Tx, model: Found, new_name: str) -> None:
    """Raise GateClosed when something would lead to a version that a policy it comes under has not let pass."""
    joined = [each for each in gates.policies(tx, model.project, new_name) if not each.spec.covers(model.name)]
    if not joined:
        return
    tx.take_time()
    for alias, stage, version in _leads(tx, model.row):
        shut = gates.shut(tx, version, [each for each in joined if each.spec.guards(alias, stage)])
        if shut:
            target = f"@{alias}" if alias else f"in the stage {version.stage.value}"
            raise GateClosed(
                f"As {new_name!r}, version {version.version} of {model.name!r} may not be {target}: "
                f"{gates.reasons(shut)}",
                path="new_name",
                hint="take the alias or stage away, rename, pass the gates, and set it again",
            )


def _leads(tx: Tx, model: int) -> Iterator[tuple[str, Stage | None, ModelVersion]]:
    """Each alias and stage with the version that it leads to."""
    for alias, *row in tx.all(_aliased, {"model": model}):
        yield alias, None, rows.whole_version(tx, row)
    for found in tx.all(_staged, {"model": model}):
        version = rows.whole_version(tx, found)
        yield "", version.stage, version
