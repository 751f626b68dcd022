"""The words of webhooks. Entities, actions and their combinations are MLflow's. Times are Unix milliseconds."""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from mlwright.kernel.errors import Invalid


class Entity(StrEnum):
    """What an event is about."""

    REGISTERED_MODEL = "registered_model"
    MODEL_VERSION = "model_version"
    MODEL_VERSION_TAG = "model_version_tag"
    MODEL_VERSION_ALIAS = "model_version_alias"
    PROMPT = "prompt"
    PROMPT_VERSION = "prompt_version"
    PROMPT_TAG = "prompt_tag"
    PROMPT_VERSION_TAG = "prompt_version_tag"
    PROMPT_ALIAS = "prompt_alias"
    BUDGET_POLICY = "budget_policy"


class Action(StrEnum):
    """What became of it."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    SET = "set"
    EXCEEDED = "exceeded"


_TAGS = (Action.SET, Action.DELETED)
_ALIASES = (Action.CREATED, Action.DELETED)
_ACTIONS = {
    Entity.REGISTERED_MODEL: (Action.CREATED,),
    Entity.MODEL_VERSION: (Action.CREATED,),
    Entity.MODEL_VERSION_TAG: _TAGS,
    Entity.MODEL_VERSION_ALIAS: _ALIASES,
    Entity.PROMPT: (Action.CREATED,),
    Entity.PROMPT_VERSION: (Action.CREATED,),
    Entity.PROMPT_TAG: _TAGS,
    Entity.PROMPT_VERSION_TAG: _TAGS,
    Entity.PROMPT_ALIAS: _ALIASES,
    Entity.BUDGET_POLICY: (Action.EXCEEDED,),
}


class WebhookEvent(NamedTuple):
    """What a webhook can be told of."""

    entity: Entity
    action: Action

    def __str__(self) -> str:
        return f"{self.entity}.{self.action}"


#: All events that exist, by the names that people write.
EVENTS = {
    str(event): event for event in (WebhookEvent(entity, each) for entity in _ACTIONS for each in _ACTIONS[entity])
}


def event_of(entity: Entity, action: Action) -> WebhookEvent:
    """Raises Invalid, with MLflow's text, for a combination that does not exist."""
    found = WebhookEvent(entity, action)
    if str(found) not in EVENTS:
        valid = sorted(each.value for each in _ACTIONS[entity])
        raise Invalid(f"Invalid action '{action}' for entity '{entity}'. Valid actions are: {valid}", path="events")
    return found


def parse_event(text: str) -> WebhookEvent:
    """An event as people write it, such as model_version.created. Raises Invalid."""
    found = EVENTS.get(text)
    if found is None:
        raise Invalid(f"there is no event {text!r}", path="events", hint=f"one of: {', '.join(EVENTS)}")
    return found


class WebhookStatus(StrEnum):
    """A disabled webhook is told of nothing that happens meanwhile; what waited before waits on."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


class Webhook(msgspec.Struct, frozen=True):
    """Who is told of what. `sealed` is the secret in sealed form; nobody gets to see either."""

    row: int
    webhook_id: str
    project: str
    name: str
    description: str | None
    url: str
    events: list[WebhookEvent]
    status: WebhookStatus
    sealed: str | None
    created_ms: int
    updated_ms: int


class NewWebhook(msgspec.Struct, frozen=True):
    """What a webhook is to be. `secret` signs what it is told."""

    name: str
    url: str
    events: list[WebhookEvent]
    description: str | None = None
    secret: str | None = None
    status: WebhookStatus = WebhookStatus.ACTIVE


class WebhookChange(msgspec.Struct, frozen=True):
    """What is to change; null leaves things as they are. An empty secret ends signing."""

    name: str | None = None
    url: str | None = None
    events: list[WebhookEvent] | None = None
    description: str | None = None
    secret: str | None = None
    status: WebhookStatus | None = None


class DeliveryState(StrEnum):
    """Whether something has been told: not yet, yes, or given up."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class Delivery(msgspec.Struct, frozen=True):
    """One thing that a webhook is told.

    Attributes:
        id: the header X-MLflow-Delivery-Id; the same whenever it is tried.
        event: such as model_version.created.
        seq: the event's number in the event log.
        attempts: how often it was tried.
        response_status: HTTP status of the last answer; null without one.
        problem: why the last attempt failed.
        next_ms: when it is tried again.
    """

    id: str
    event: str
    seq: int
    state: DeliveryState
    attempts: int
    response_status: int | None
    problem: str | None
    created_ms: int
    next_ms: int | None
    ended_ms: int | None


class ToldDelivery(msgspec.Struct, frozen=True):
    """A delivery with the message itself."""

    delivery: Delivery
    message: dict[str, object]


class TestResult(msgspec.Struct, frozen=True):
    """How a webhook answered to an example. `problem` says why there is no answer."""

    success: bool
    response_status: int | None = None
    response_body: str | None = None
    problem: str | None = None


class WebhookSettings(msgspec.Struct, frozen=True):
    """How webhooks are told.

    Attributes:
        schemes: of URLs.
        private: whether addresses that are not public may be told: of this machine, its network, clouds' metadata.
        timeout_s: for a whole attempt.
        retries: attempts after the first one.
        at_once: most webhooks that are told at the same time, beside up to twice as many that do not answer.
    """

    schemes: tuple[str, ...] = ("https",)
    private: bool = False
    timeout_s: float = 30.0
    retries: int = 10
    at_once: int = 100
