"""From rows of the registry's tables to models and versions, with as many queries for a thousand as for one."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from sqlalchemy import bindparam, func, select

from mlwright.kernel.query import Query, among
from mlwright.registry.spec import Alias, Facts, ModelVersion, RegisteredModel, Stage
from mlwright.registry.tables import (
    model_aliases,
    model_version_tags,
    model_versions,
    registered_model_tags,
    registered_models,
)

MODEL_COLUMNS = [
    registered_models.c[name]
    for name in ("id", "name", "project", "description", "created_ms", "updated_ms", "last_version")
]
#: All but `model` and `facts`, in the order of the first fields of ModelVersion.
VERSION_COLUMNS = [
    model_versions.c[name]
    for name in (
        "id", "name", "project", "version", "source", "storage", "run_id", "model_id", "run_link", "description",
        "author", "stage", "digest", "size", "files", "created_ms", "updated_ms",
    )
]  # fmt: skip
_STAGES = {stage.value: stage for stage in Stage}
_NO_FACTS = Facts()
_facts = msgspec.json.Decoder(Facts)

_versions = model_versions.c
_newest = (
    select(_versions.model, func.max(_versions.version).label("newest"), func.min(_versions.version).label("oldest"))
    .where(among(_versions.model, "models"))
    .group_by(_versions.model, _versions.stage)
    .subquery()
)
_latest = Query(
    select(*VERSION_COLUMNS, _versions.model)
    .join(_newest, (_newest.c.model == _versions.model) & (_newest.c.newest == _versions.version))
    .order_by(_newest.c.model, _newest.c.oldest)
)
_aliases_of = Query(
    select(model_aliases.c.model, model_aliases.c.alias, model_aliases.c.version)
    .where(among(model_aliases.c.model, "models"))
    .order_by(model_aliases.c.model, model_aliases.c.alias)
)
_model_tags = Query(
    select(registered_model_tags.c.model, registered_model_tags.c.key, registered_model_tags.c.value)
    .where(among(registered_model_tags.c.model, "rows"))
    .order_by(registered_model_tags.c.model, registered_model_tags.c.key)
)
_version_tags = Query(
    select(model_version_tags.c.version, model_version_tags.c.key, model_version_tags.c.value)
    .where(among(model_version_tags.c.version, "rows"))
    .order_by(model_version_tags.c.version, model_version_tags.c.key)
)
_aliases_to = Query(
    select(model_aliases.c.alias)
    .where(model_aliases.c.model == bindparam("model"), model_aliases.c.version == bindparam("version"))
    .order_by(model_aliases.c.alias)
)


class Reader(Protocol):
    """What is needed of a transaction."""

    def all(self, query: Query, params: Any = None) -> list[tuple[Any, ...]]: ...


def versions(tx: Reader, rows: Sequence[Sequence[Any]]) -> list[ModelVersion]:
    """Rows of VERSION_COLUMNS, in the given order, with their tags; without facts and aliases."""
    tags = _tags(tx, _version_tags, [row[0] for row in rows])
    return [_version(row, tags.get(row[0], {})) for row in rows]


def whole_version(tx: Reader, row: Sequence[Any]) -> ModelVersion:
    """A row of VERSION_COLUMNS, `facts` and `model`, as a version with all that belongs to it."""
    *plain, facts, model = row
    found = versions(tx, [plain])[0]
    aliases = [alias for (alias,) in tx.all(_aliases_to, {"model": model, "version": found.version})]
    return msgspec.structs.replace(found, facts=_facts.decode(facts), aliases=aliases)


def models(tx: Reader, rows: Sequence[Sequence[Any]]) -> list[RegisteredModel]:
    """Rows of MODEL_COLUMNS, in the given order, with tags, aliases and the newest version of each stage."""
    numbers = [row[0] for row in rows]
    tags = _tags(tx, _model_tags, numbers)
    aliases = aliases_of(tx, numbers)
    latest: dict[int, list[ModelVersion]] = defaultdict(list)
    found = tx.all(_latest, {"models": str(numbers)})
    for row, version in zip(found, versions(tx, found), strict=True):
        latest[row[-1]].append(version)
    return [_model(row, tags.get(row[0], {}), aliases.get(row[0], []), latest[row[0]]) for row in rows]


def aliases_of(tx: Reader, models: Sequence[int]) -> dict[int, list[Alias]]:
    """The aliases of the models with these row numbers, by name."""
    found: dict[int, list[Alias]] = defaultdict(list)
    for number, alias, version in tx.all(_aliases_of, {"models": str(list(models))}):
        found[number].append(Alias(alias, version))
    return found


def _model(
    row: Sequence[Any], tags: dict[str, str], aliases: list[Alias], latest: list[ModelVersion]
) -> RegisteredModel:
    number, name, project, description, created, updated, last = row
    return RegisteredModel(number, name, project, description, created, updated, last, tags, aliases, latest)


def _version(row: Sequence[Any], tags: dict[str, str]) -> ModelVersion:
    number, name, project, version, source, storage, run, model, link, text, author, stage, digest = row[:13]
    size, files, created, updated = row[13:17]
    return ModelVersion(
        number, name, project, version, source, storage, run or None, model, link, text, author, _STAGES[stage],
        digest, size, files, _NO_FACTS, created, updated, tags,
    )  # fmt: skip


def _tags(tx: Reader, query: Query, rows: Sequence[int]) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for row, key, value in tx.all(query, {"rows": str(list(rows))}):
        found[row][key] = value
    return found


def with_aliases(version: ModelVersion, aliases: Sequence[Alias]) -> ModelVersion:
    """The version with those of its model's aliases that lead to it."""
    own = [each.alias for each in aliases if each.version == version.version]
    return msgspec.structs.replace(version, aliases=own)
