"""Events of the log as MLflow's webhooks tell them: https://mlflow.org/docs/latest/ml/webhooks/."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from mlwright.kernel.events import Event
from mlwright.registry.spec import PROMPT_TAG
from mlwright.registry.webhooks.spec import Action, Entity, WebhookEvent

_PROMPT_TEXT = "mlflow.prompt.text"
#: Tags by which MLflow tells prompts from models; it does not tell them to webhooks.
_INNER_TAGS = frozenset({PROMPT_TAG, "_mlflow_prompt_type"})
#: What events about a prompt say of themselves (see models.prompt_flag).
_PROMPT = "prompt"

Payload = dict[str, Any]


def body(event: WebhookEvent, at_ms: int, data: Mapping[str, Any]) -> bytes:
    """What is sent, as JSON."""
    when = datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat()
    message = {"entity": event.entity.value, "action": event.action.value, "timestamp": when, "data": data}
    return msgspec.json.encode(message)


def of(event: Event) -> tuple[WebhookEvent, Payload] | None:
    """What webhooks are told of an event of the log; None when it is nothing for them."""
    told = _TOLD.get(event.type)
    if told is None:
        return None
    return told(event.subject.split("/", 2)[1:], msgspec.json.decode(event.data))


def _model_created(subject: list[str], data: Payload) -> tuple[WebhookEvent, Payload]:
    tags = data["tags"]
    entity = Entity.PROMPT if _is_prompt(tags) else Entity.REGISTERED_MODEL
    shown = _shown(tags) if _is_prompt(tags) else tags
    found = {"name": subject[0], "tags": shown, "description": data["description"]}
    return WebhookEvent(entity, Action.CREATED), found


def _version_created(subject: list[str], data: Payload) -> tuple[WebhookEvent, Payload]:
    name, version = subject
    tags, description = data["tags"], data["description"] or None
    found: Payload = {"name": name, "version": version}
    if _is_prompt(tags):
        shown = {key: value for key, value in _shown(tags).items() if key != _PROMPT_TEXT}
        found |= {"template": tags.get(_PROMPT_TEXT), "tags": shown, "description": description}
        return WebhookEvent(Entity.PROMPT_VERSION, Action.CREATED), found
    found |= {"source": data["source"], "run_id": data["run_id"], "tags": tags, "description": description}
    return WebhookEvent(Entity.MODEL_VERSION, Action.CREATED), found


def _model_tag(action: Action) -> Callable[[list[str], Payload], tuple[WebhookEvent, Payload] | None]:
    """MLflow tells tags of prompts only."""

    def told(subject: list[str], data: Payload) -> tuple[WebhookEvent, Payload] | None:
        if not data.get(_PROMPT):
            return None
        return WebhookEvent(Entity.PROMPT_TAG, action), {"name": subject[0], **_tag(action, data)}

    return told


def _version_tag(action: Action) -> Callable[[list[str], Payload], tuple[WebhookEvent, Payload]]:
    def told(subject: list[str], data: Payload) -> tuple[WebhookEvent, Payload]:
        entity = Entity.PROMPT_VERSION_TAG if data.get(_PROMPT) else Entity.MODEL_VERSION_TAG
        return WebhookEvent(entity, action), {"name": subject[0], "version": subject[1], **_tag(action, data)}

    return told


def _tag(action: Action, data: Payload) -> Payload:
    ((key, value),) = data["after" if action is Action.SET else "before"].items()
    return {"key": key, "value": value} if action is Action.SET else {"key": key}


def _alias(action: Action) -> Callable[[list[str], Payload], tuple[WebhookEvent, Payload]]:
    def told(subject: list[str], data: Payload) -> tuple[WebhookEvent, Payload]:
        entity = Entity.PROMPT_ALIAS if data.get(_PROMPT) else Entity.MODEL_VERSION_ALIAS
        found = {"name": subject[0], "alias": data["alias"]}
        if action is Action.CREATED:
            found["version"] = str(data["after"]["version"])
        return WebhookEvent(entity, action), found

    return told


def _is_prompt(tags: Mapping[str, str]) -> bool:
    return tags.get(PROMPT_TAG, "").lower() == "true"


def _shown(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key not in _INNER_TAGS}


_TOLD: Mapping[str, Callable[[list[str], Payload], tuple[WebhookEvent, Payload] | None]] = {
    "registry.model.created": _model_created,
    "registry.version.created": _version_created,
    "registry.model.tags_set": _model_tag(Action.SET),
    "registry.model.tag_deleted": _model_tag(Action.DELETED),
    "registry.version.tags_set": _version_tag(Action.SET),
    "registry.version.tag_deleted": _version_tag(Action.DELETED),
    "registry.alias.moved": _alias(Action.CREATED),
    "registry.alias.removed": _alias(Action.DELETED),
}
#: Types of events of the log that webhooks can be told.
TYPES = tuple(_TOLD)


def example(event: WebhookEvent) -> Payload:
    """What a test sends: made up, as MLflow makes it up."""
    if event.entity is Entity.BUDGET_POLICY:
        return dict(_BUDGET)
    prompt = event.entity.value.startswith("prompt")
    kind = "prompt" if prompt else "model"
    found: Payload = {"name": f"example_{kind}"}
    if event.entity in (Entity.REGISTERED_MODEL, Entity.PROMPT):
        what = "prompt" if prompt else "registered model"
        return found | {"tags": {"example_key": "example_value"}, "description": f"An example {what}"}
    if event.entity in (Entity.MODEL_VERSION, Entity.PROMPT_VERSION):
        content = {"template": "Hello {{name}}!"} if prompt else {"source": "models:/123", "run_id": "abcd1234abcd5678"}
        rest = {"tags": {"example_key": "example_value"}, "description": f"An example {kind} version"}
        return found | {"version": "1"} | content | rest
    if event.entity in (Entity.MODEL_VERSION_ALIAS, Entity.PROMPT_ALIAS):
        return found | {"alias": "example_alias"} | ({"version": "1"} if event.action is Action.CREATED else {})
    place = {} if event.entity is Entity.PROMPT_TAG else {"version": "1"}
    value = {"value": "example_value"} if event.action is Action.SET else {}
    return found | place | {"key": "example_key"} | value


_BUDGET = {
    "budget_policy_id": "bp-abc123",
    "budget_unit": "USD",
    "budget_amount": 100.0,
    "current_spend": 105.50,
    "duration_unit": "MONTHS",
    "duration_value": 1,
    "target_scope": "ENDPOINT",
    "workspace": "default",
    "target_value": "ep-abc123",
    "window_start": 1_704_067_200_000,
}
