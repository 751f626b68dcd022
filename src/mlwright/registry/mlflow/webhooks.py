"""MLflow routes under webhooks/."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import Route, caller_of
from mlwright.kernel.protojson import answer, both, decode, required
from mlwright.registry.webhooks import service
from mlwright.registry.webhooks.spec import (
    Action,
    Entity,
    NewWebhook,
    Webhook,
    WebhookChange,
    WebhookEvent,
    WebhookStatus,
    event_of,
)
from mlwright.registry.webhooks.verbs import Webhooks

#: The numbers of MLflow's enumerations in protobuf; requests may use them instead of names.
_ENTITIES = dict(enumerate(Entity, 1))
_ACTIONS = dict(enumerate(Action, 1))
_STATUSES = dict(enumerate(WebhookStatus, 1))


class WireEvent(msgspec.Struct):
    entity: str | int = ""
    action: str | int = ""


class Create(msgspec.Struct):
    name: str | None = None
    url: str | None = None
    events: list[WireEvent] = []
    description: str = ""
    secret: str = ""
    status: str | int | None = None


class Listing(msgspec.Struct):
    max_results: int = 100
    page_token: str = ""


class Update(msgspec.Struct):
    name: str = ""
    url: str = ""
    events: list[WireEvent] = []
    description: str | None = None
    secret: str | None = None
    status: str | int | None = None


class Test(msgspec.Struct):
    event: WireEvent | None = None


class WireWebhook(msgspec.Struct):
    webhook_id: str
    name: str
    url: str
    events: list[WireEvent]
    status: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str | UnsetType = UNSET


class WireResult(msgspec.Struct):
    success: bool
    response_status: int | UnsetType = UNSET
    response_body: str | UnsetType = UNSET
    error_message: str | UnsetType = UNSET


class WebhookRoutes:
    """Handlers of webhooks; each is one request.

    Args:
        database: where webhooks stand.
        webhooks: what takes more than a transaction.
    """

    def __init__(self, database: Database, webhooks: Webhooks) -> None:
        self._database = database
        self._webhooks = webhooks

    def routes(self) -> list[Route]:
        one = "webhooks/{webhook_id}"
        return [
            *both("POST", "webhooks", self.create),
            *both("GET", "webhooks", self.list),
            *both("GET", one, self.get),
            *both("PATCH", one, self.update),
            *both("DELETE", one, self.delete),
            *both("POST", f"{one}/test", self.test),
        ]

    async def create(self, request: Request) -> Response:
        message, caller = await decode(request, Create), caller_of(request)
        new = NewWebhook(
            required("name", message.name),
            required("url", message.url),
            [_event(each) for each in required("events", message.events or None)],
            message.description or None,
            message.secret or None,
            _status(message.status) or WebhookStatus.ACTIVE,
        )
        return _webhook(await self._webhooks.create(caller, new))

    async def list(self, request: Request) -> Response:
        message, caller = await decode(request, Listing), caller_of(request)
        page = await self._database.read(
            lambda tx: service.listed(tx, caller, message.max_results or 100, message.page_token)
        )
        found: dict[str, Any] = {"webhooks": [_wire(each) for each in page.rows]} if page.rows else {}
        if page.next_page_token:
            found["next_page_token"] = page.next_page_token
        return answer(found)

    async def get(self, request: Request) -> Response:
        caller, webhook_id = caller_of(request), request.path_params["webhook_id"]
        return _webhook(await self._database.read(lambda tx: service.get(tx, caller, webhook_id)))

    async def update(self, request: Request) -> Response:
        message, caller = await decode(request, Update), caller_of(request)
        wanted = WebhookChange(
            message.name or None,
            message.url or None,
            [_event(each) for each in message.events] or None,
            message.description,
            message.secret,
            _status(message.status),
        )
        return _webhook(await self._webhooks.change(caller, request.path_params["webhook_id"], wanted))

    async def delete(self, request: Request) -> Response:
        caller, webhook_id = caller_of(request), request.path_params["webhook_id"]
        await self._database.write(lambda tx: service.remove(tx, caller, webhook_id))
        return answer()

    async def test(self, request: Request) -> Response:
        message, caller = await decode(request, Test), caller_of(request)
        event = _event(message.event) if message.event is not None else None
        found = await self._webhooks.test(caller, request.path_params["webhook_id"], event)
        result = WireResult(
            found.success,
            found.response_status if found.response_status is not None else UNSET,
            found.response_body if found.response_body is not None else UNSET,
            UNSET if found.problem is None else f"Failed to test webhook: {found.problem}",
        )
        return answer({"result": result})


def _webhook(found: Webhook) -> Response:
    return answer({"webhook": _wire(found)})


def _wire(found: Webhook) -> WireWebhook:
    events = [WireEvent(each.entity.name, each.action.name) for each in found.events]
    return WireWebhook(
        found.webhook_id,
        found.name,
        found.url,
        events,
        found.status.value,
        found.created_ms,
        found.updated_ms,
        found.description or UNSET,
    )


def _event(wire: WireEvent) -> WebhookEvent:
    return event_of(_member(_ENTITIES, wire.entity, "entity"), _member(_ACTIONS, wire.action, "action"))


def _status(given: str | int | None) -> WebhookStatus | None:
    return None if given is None else _member(_STATUSES, given, "status")


def _member(numbered: dict[int, Any], given: str | int, path: str) -> Any:
    """A member of an enumeration by its name in capitals or its number. Raises Invalid."""
    if isinstance(given, int):
        found = numbered.get(given)
    else:
        found = next((each for each in numbered.values() if each.name == given), None)
    if found is None:
        names = ", ".join(each.name for each in numbered.values())
        raise Invalid(f"Invalid value {given!r} for parameter '{path}': it must be one of {names}.", path=path)
    return found
