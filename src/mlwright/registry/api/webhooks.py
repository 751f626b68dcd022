"""Webhooks over our own REST API."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.http import caller_of, integer, json_response, read_json
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.kernel.search.page import Page
from mlwright.registry.webhooks import service
from mlwright.registry.webhooks.spec import (
    Delivery,
    NewWebhook,
    TestResult,
    ToldDelivery,
    Webhook,
    WebhookChange,
    WebhookStatus,
    parse_event,
)
from mlwright.registry.webhooks.verbs import Webhooks

_TAG = "webhooks"
_PROJECT = Parameter("project", {"type": "string"}, "Whose webhooks; your own project's when not given.")
_LIMIT = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": service.MAX_RESULTS}, "At most so many.")
_PAGE = Parameter("page_token", {"type": "string"}, "From the page before.")


class WebhookView(msgspec.Struct, frozen=True):
    """A webhook. `signed`: it has a secret, which nobody gets to see."""

    id: str
    project: str
    name: str
    description: str | None
    url: str
    events: list[str]
    status: WebhookStatus
    signed: bool
    created_ms: int
    updated_ms: int


class WebhookPage(msgspec.Struct, frozen=True):
    """Webhooks; `next_token` leads to the next page and is empty on the last."""

    items: list[WebhookView]
    next_token: str = ""


class CreateWebhook(msgspec.Struct, forbid_unknown_fields=True):
    """What a webhook is to be. Events such as: model_version.created."""

    name: str
    url: str
    events: list[str]
    description: str | None = None
    secret: str | None = None
    status: WebhookStatus = WebhookStatus.ACTIVE


class ChangeWebhook(msgspec.Struct, forbid_unknown_fields=True):
    """What is to change; null leaves things as they are. An empty secret ends signing."""

    name: str | None = None
    url: str | None = None
    events: list[str] | None = None
    description: str | None = None
    secret: str | None = None
    status: WebhookStatus | None = None


class TestEvent(msgspec.Struct, forbid_unknown_fields=True):
    """Of which event an example is sent; of the webhook's first one when empty."""

    event: str = ""


def webhook_view(each: Webhook) -> WebhookView:
    return WebhookView(
        each.webhook_id, each.project, each.name, each.description, each.url, [str(event) for event in each.events],
        each.status, each.sealed is not None, each.created_ms, each.updated_ms,
    )  # fmt: skip


class WebhooksApi:
    """Handlers; each is one request.

    Args:
        database: where webhooks stand.
        webhooks: what takes more than a transaction.
    """

    def __init__(self, database: Database, webhooks: Webhooks) -> None:
        self._database = database
        self._webhooks = webhooks

    def operations(self) -> list[Operation]:
        many, one = "/v1/webhooks", "/v1/webhooks/{webhook}"
        told = f"{one}/deliveries"
        listing, here, few = (_PROJECT, _LIMIT, _PAGE), (_PROJECT,), (_LIMIT,)
        return [
            Operation("GET", many, self.list, "The webhooks of a project.", _TAG, None, WebhookPage, listing),
            Operation("POST", many, self.create, "Create a webhook.", _TAG, CreateWebhook, WebhookView, here, 201),
            Operation("GET", one, self.get, "One webhook.", _TAG, None, WebhookView),
            Operation("PATCH", one, self.change, "Change a webhook.", _TAG, ChangeWebhook, WebhookView),
            Operation("DELETE", one, self.delete, "Delete a webhook.", _TAG, None, None, (), 204),
            Operation("POST", f"{one}/test", self.test, "Send it an example, once.", _TAG, TestEvent, TestResult),
            Operation("GET", told, self.deliveries, "What it was told.", _TAG, None, list[Delivery], few),
            Operation("GET", f"{told}/{{delivery}}", self.told, "One delivery.", _TAG, None, ToldDelivery),
            Operation(
                "POST", f"{told}/{{delivery}}/retry", self.retry, "Tell it once more.", _TAG, None, Delivery, (), 202
            ),
        ]

    async def list(self, request: Request) -> Response:
        caller, query = caller_of(request), request.query_params
        limit, project = integer(request, "limit", 100, 1, service.MAX_RESULTS), query.get("project", "")
        token = query.get("page_token", "")
        page: Page[Webhook] = await self._database.read(lambda tx: service.listed(tx, caller, limit, token, project))
        return json_response(WebhookPage([webhook_view(each) for each in page.rows], page.next_page_token))

    async def create(self, request: Request) -> Response:
        body, caller = await read_json(request, CreateWebhook), caller_of(request)
        events = [parse_event(each) for each in body.events]
        new = NewWebhook(body.name, body.url, events, body.description, body.secret, body.status)
        found = await self._webhooks.create(caller, new, request.query_params.get("project", ""))
        return json_response(webhook_view(found), 201)

    async def get(self, request: Request) -> Response:
        caller, webhook = caller_of(request), request.path_params["webhook"]
        return json_response(webhook_view(await self._database.read(lambda tx: service.get(tx, caller, webhook))))

    async def change(self, request: Request) -> Response:
        body, caller = await read_json(request, ChangeWebhook), caller_of(request)
        events = None if body.events is None else [parse_event(each) for each in body.events]
        wanted = WebhookChange(body.name, body.url, events, body.description, body.secret, body.status)
        found = await self._webhooks.change(caller, request.path_params["webhook"], wanted)
        return json_response(webhook_view(found))

    async def delete(self, request: Request) -> Response:
        caller, webhook = caller_of(request), request.path_params["webhook"]
        await self._database.write(lambda tx: service.remove(tx, caller, webhook))
        return Response(status_code=204)

    async def test(self, request: Request) -> Response:
        body, caller = await read_json(request, TestEvent), caller_of(request)
        event = parse_event(body.event) if body.event else None
        return json_response(await self._webhooks.test(caller, request.path_params["webhook"], event))

    async def deliveries(self, request: Request) -> Response:
        caller, webhook = caller_of(request), request.path_params["webhook"]
        limit = integer(request, "limit", 100, 1, service.MAX_RESULTS)
        return json_response(await self._database.read(lambda tx: service.deliveries(tx, caller, webhook, limit)))

    async def told(self, request: Request) -> Response:
        caller, named = caller_of(request), request.path_params
        return json_response(
            await self._database.read(lambda tx: service.told(tx, caller, named["webhook"], named["delivery"]))
        )

    async def retry(self, request: Request) -> Response:
        caller, named = caller_of(request), request.path_params
        return json_response(
            await self._database.write(lambda tx: service.again(tx, caller, named["webhook"], named["delivery"])), 202
        )
