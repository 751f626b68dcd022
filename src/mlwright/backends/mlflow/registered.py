"""What MLflow's server says of registered models and versions, as what is moved in."""

from collections.abc import Mapping
from typing import Any

from mlwright.registry.ports import MovedRegisteredModel, MovedVersion
from mlwright.registry.spec import PROMPT_TAG, Stage

#: What a deleted version of an MLflow database or folder is in: its row stays, with everything blotted out.
DELETED = "Deleted_Internal"
#: Searches of MLflow leave prompts out unless they ask for nothing else.
PROMPTS = f"tags.`{PROMPT_TAG}` = 'true'"


def model_of(each: Mapping[str, Any]) -> MovedRegisteredModel:
    """A model of MLflow's registry as its server writes it."""
    created = int(each.get("creation_timestamp") or 0)
    return MovedRegisteredModel(
        each["name"],
        each.get("description") or "",
        created,
        int(each.get("last_updated_timestamp") or created),
        _pairs(each.get("tags")),
        {alias["alias"]: int(alias["version"]) for alias in each.get("aliases") or ()},
    )


def version_of(each: Mapping[str, Any], storage: str) -> MovedVersion:
    """A version of MLflow's registry as its server writes it; `storage` is its download URI."""
    created = int(each.get("creation_timestamp") or 0)
    return MovedVersion(
        int(each["version"]),
        each.get("source") or "",
        storage,
        each.get("run_id") or "",
        each.get("model_id") or "",
        each.get("run_link") or "",
        each.get("description") or "",
        each.get("user_id") or "",
        stage_of(each.get("current_stage")),
        created,
        int(each.get("last_updated_timestamp") or created),
        _pairs(each.get("tags")),
    )


def stage_of(text: Any) -> Stage:
    """A stage as MLflow keeps it. What is none of MLflow's stages counts as none."""
    return next((stage for stage in Stage if stage.value == text), Stage.NONE)


def model_id_of(source: str) -> str:
    """The logged model that a source names; empty when it names none. Databases keep it nowhere else."""
    model_id = source.removeprefix("models:/")
    return model_id if model_id != source and model_id.startswith("m-") and "/" not in model_id else ""


def named(name: str) -> str:
    """A condition of MLflow's search language: the name is this one."""
    quote = '"' if "'" in name else "'"
    return f"name = {quote}{name}{quote}"


def _pairs(tags: Any) -> dict[str, str]:
    return {tag["key"]: tag.get("value") or "" for tag in tags or ()}
