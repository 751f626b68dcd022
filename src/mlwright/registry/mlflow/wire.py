"""Models and versions in MLflow's JSON: field names and presence as its protobuf messages print them."""

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType

from mlwright.registry.spec import ModelVersion, RegisteredModel
from mlwright.tracking.spec import Tag


class WireAlias(msgspec.Struct, gc=False):
    alias: str
    version: str


class WireVersion(msgspec.Struct):
    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    current_stage: str
    source: str
    run_id: str
    status: str
    description: str | UnsetType = UNSET
    run_link: str | UnsetType = UNSET
    tags: list[Tag] | UnsetType = UNSET
    aliases: list[str] | UnsetType = UNSET


class WireModel(msgspec.Struct):
    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str | UnsetType = UNSET
    latest_versions: list[WireVersion] | UnsetType = UNSET
    tags: list[Tag] | UnsetType = UNSET
    aliases: list[WireAlias] | UnsetType = UNSET


def version(each: ModelVersion) -> WireVersion:
    return WireVersion(
        each.name,
        str(each.version),
        each.created_ms,
        each.updated_ms,
        each.stage.value,
        each.source,
        each.run_id or "",
        "READY",
        UNSET if each.description is None else each.description,
        UNSET if each.run_link is None else each.run_link,
        _tags(each.tags),
        each.aliases or UNSET,
    )


def model(each: RegisteredModel) -> WireModel:
    return WireModel(
        each.name,
        each.created_ms,
        each.updated_ms,
        each.description or UNSET,
        [version(newest) for newest in each.latest] or UNSET,
        _tags(each.tags),
        [WireAlias(alias.alias, str(alias.version)) for alias in each.aliases] or UNSET,
    )


def _tags(found: Mapping[str, str]) -> list[Tag] | UnsetType:
    return [Tag(key, value) for key, value in found.items()] or UNSET
