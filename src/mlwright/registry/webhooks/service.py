"""The verbs of webhooks. They are the administrators' affair: a URL may be a secret, and data leave the server."""

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import bindparam, delete, func, insert, null, select, update

from mlwright.kernel import checks, events, store
from mlwright.kernel.errors import Conflict, Invalid, NotFound
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.ids import Ids
from mlwright.kernel.query import Query
from mlwright.kernel.search import page as paging
from mlwright.kernel.search.page import Page
from mlwright.kernel.transaction import Tx
from mlwright.registry.spec import TOLD
from mlwright.registry.webhooks import rows, targets
from mlwright.registry.webhooks.spec import (
    Delivery,
    DeliveryState,
    NewWebhook,
    ToldDelivery,
    Webhook,
    WebhookChange,
    WebhookEvent,
    WebhookStatus,
)
from mlwright.registry.webhooks.tables import webhook_deliveries, webhooks

MAX_RESULTS = 1_000
MAX_DESCRIPTION_LENGTH = 1_000
MAX_SECRET_LENGTH = 1_000
_NAME = re.compile(r"(?=.{1,63}\Z)[a-z0-9]([a-z0-9._-]*[a-z0-9])?", re.IGNORECASE | re.ASCII)

_webhooks, _deliveries = webhooks.c, webhook_deliveries.c
_by_id = Query(select(*rows.WEBHOOK_COLUMNS).where(_webhooks.webhook_id == bindparam("webhook_id")))
_listed = Query(
    select(*rows.WEBHOOK_COLUMNS)
    .where(_webhooks.project == bindparam("project"), _webhooks.id < bindparam("before"))
    .order_by(_webhooks.id.desc())
    .limit(bindparam("limit"))
)
_count = Query(select(func.count()).select_from(webhooks).where(_webhooks.project == bindparam("project")))
_insert = Query(
    insert(webhooks)
    .values({column.name: bindparam(column.name) for column in _webhooks if column.name != "id"})
    .returning(_webhooks.id)
)
_update = Query(
    update(webhooks)
    .where(_webhooks.id == bindparam("webhook_"))
    .values({name: bindparam(f"new_{name}") for name in ("name", "url", "events", "description", "sealed", "status")})
    .values(updated_ms=bindparam("now"))
)
_look_from = Query(
    update(webhooks)
    .where(_webhooks.id == bindparam("webhook_"))
    .values(seen=bindparam("head"), due_ms=bindparam("now"))
)
_now = Query(update(webhooks).where(_webhooks.id == bindparam("webhook_")).values(due_ms=bindparam("now")))
_delete = (
    Query(delete(webhook_deliveries).where(_deliveries.webhook == bindparam("webhook_"))),
    Query(delete(webhooks).where(_webhooks.id == bindparam("webhook_"))),
)
_told = Query(
    select(*rows.DELIVERY_COLUMNS, _webhooks.due_ms)
    .join(webhooks, _webhooks.id == _deliveries.webhook)
    .where(_deliveries.webhook == bindparam("webhook"))
    .order_by(_deliveries.id.desc())
    .limit(bindparam("limit"))
)
_delivery = Query(
    select(_deliveries.id, _deliveries.body, _webhooks.due_ms, *rows.DELIVERY_COLUMNS)
    .join(webhooks, _webhooks.id == _deliveries.webhook)
    .where(_deliveries.webhook == bindparam("webhook"), _deliveries.delivery_id == bindparam("delivery_id"))
)
_again = Query(
    update(webhook_deliveries)
    .where(_deliveries.id == bindparam("delivery_"))
    .values(state=DeliveryState.WAITING.value, attempts=0, ended_ms=null())
)


def new_id(ids: Ids) -> str:
    """A new UUID, as MLflow names webhooks and deliveries."""
    return str(UUID(hex=ids.hex32(), version=4))


def create(tx: Tx, caller: Caller, new: NewWebhook, sealed: str | None, project: str = "") -> Webhook:
    """Create a webhook. Where its URL leads is for the caller to have checked, and its secret to have sealed."""
    project = project or caller.project
    _check(new.name, new.events, new.description, new.secret)
    caller.require(project, Role.ADMIN)
    store.require_project(tx, project)
    now = tx.now_ms()
    values = {
        "webhook_id": new_id(tx.ids),
        "project": project,
        "name": new.name,
        "description": new.description,
        "url": new.url,
        "events": _encoded(new.events),
        "status": new.status.value,
        "sealed": sealed,
        "created_ms": now,
        "updated_ms": now,
        "seen": events.head(tx),
        "due_ms": now,
        "lease_ms": 0,
        "token": "",
    }
    row = tx.one(_insert, values)
    found = rows.webhook(tx.one(rows.by_row, {"webhook": row[0] if row else 0}) or ())
    _emit(tx, caller, found, "created", _shown(found))
    return found


def get(tx: Tx, caller: Caller, webhook_id: str) -> Webhook:
    """One webhook. Raises NotFound, also for those who may not see it, and Denied."""
    row = tx.one(_by_id, {"webhook_id": webhook_id})
    if row is None or not caller.may(row[2], Role.VIEWER):
        raise NotFound(f"Webhook with ID {webhook_id} not found.", path="webhook_id")
    caller.require(row[2], Role.ADMIN)
    return rows.webhook(row)


def listed(tx: Tx, caller: Caller, max_results: int = 100, page_token: str = "", project: str = "") -> Page[Webhook]:
    """The webhooks of a project, newest first."""
    project = project or caller.project
    if not 1 <= max_results <= MAX_RESULTS:
        raise Invalid(f"max_results must be between 1 and {MAX_RESULTS}.", path="max_results")
    caller.require(project, Role.ADMIN)
    query = paging.fingerprint("webhooks", project)
    place = paging.decode(page_token, query)
    before = place.after[0] if place.after and isinstance(place.after[0], int) else 1 << 62
    found = tx.all(_listed, {"project": project, "before": before, "limit": max_results + 1})
    shown = [rows.webhook(row) for row in found[:max_results]]
    more = len(found) > max_results
    token = paging.encode(place.offset + max_results, (shown[-1].row,), query) if more else ""
    return Page(shown, token)


def change(tx: Tx, caller: Caller, webhook_id: str, wanted: WebhookChange, sealed: str | None) -> Webhook:
    """Change what is given; `sealed` is the new secret, if there is one.

    A webhook that becomes active is told of what happens from now on.
    """
    before = get(tx, caller, webhook_id)
    chosen = wanted.events if wanted.events is not None else before.events
    _check(before.name if wanted.name is None else wanted.name, chosen, wanted.description, wanted.secret)
    after = msgspec.structs.replace(
        before,
        name=before.name if wanted.name is None else wanted.name,
        url=before.url if wanted.url is None else wanted.url,
        events=sorted(set(chosen)),
        description=before.description if wanted.description is None else wanted.description,
        sealed=before.sealed if wanted.secret is None else sealed,
        status=wanted.status or before.status,
        updated_ms=tx.now_ms(),
    )
    values = {f"new_{name}": getattr(after, name) for name in ("name", "url", "description", "sealed", "status")}
    tx.run(_update, {**values, "new_events": _encoded(chosen), "webhook_": before.row, "now": after.updated_ms})
    if after.status is WebhookStatus.ACTIVE and before.status is not WebhookStatus.ACTIVE:
        tx.run(_look_from, {"webhook_": before.row, "head": events.head(tx), "now": after.updated_ms})
    data = {"before": _shown(before), "after": _shown(after), "new_secret": wanted.secret is not None}
    _emit(tx, caller, after, "changed", data)
    return after


def remove(tx: Tx, caller: Caller, webhook_id: str) -> None:
    """Delete a webhook with all it was told and was to be told."""
    found = get(tx, caller, webhook_id)
    for query in _delete:
        tx.run(query, {"webhook_": found.row})
    _emit(tx, caller, found, "deleted", _shown(found))


def held_by(tx: Tx, project: str) -> str:
    """How many webhooks a project holds, in words; empty when none."""
    row = tx.one(_count, {"project": project})
    count = int(row[0]) if row else 0
    return f"{count} webhook{'s' if count > 1 else ''}" if count else ""


def tested(tx: Tx, caller: Caller, webhook_id: str, event: str, *, success: bool) -> None:
    """Note that somebody had an example sent."""
    _emit(tx, caller, get(tx, caller, webhook_id), "tested", {"event": event, "success": success})


def deliveries(tx: Tx, caller: Caller, webhook_id: str, limit: int = 100) -> list[Delivery]:
    """What a webhook was told and is to be told, newest first."""
    found = get(tx, caller, webhook_id)
    return [rows.delivery(row[:-1], row[-1]) for row in tx.all(_told, {"webhook": found.row, "limit": limit})]


def told(tx: Tx, caller: Caller, webhook_id: str, delivery_id: str) -> ToldDelivery:
    """One delivery with its message. Raises NotFound."""
    _, body, due, *row = _find_delivery(tx, get(tx, caller, webhook_id), delivery_id)
    return ToldDelivery(rows.delivery(row, due), msgspec.json.decode(body))


def _find_delivery(tx: Tx, found: Webhook, delivery_id: str) -> tuple[Any, ...]:
    row = tx.one(_delivery, {"webhook": found.row, "delivery_id": delivery_id})
    if row is None:
        raise NotFound(f"the webhook {found.name!r} has no delivery {delivery_id!r}", path="delivery")
    return row


def again(tx: Tx, caller: Caller, webhook_id: str, delivery_id: str) -> Delivery:
    """Have the webhook told something once more that has ended. Raises NotFound, and Conflict while it waits."""
    found, now = get(tx, caller, webhook_id), tx.now_ms()
    number, _, _, *row = _find_delivery(tx, found, delivery_id)
    known = rows.delivery(row, now)
    if known.state is DeliveryState.WAITING:
        raise Conflict(f"the delivery {delivery_id!r} waits already", path="delivery")
    tx.run(_again, {"delivery_": number})
    tx.run(_now, {"webhook_": found.row, "now": now})
    _emit(tx, caller, found, "retried", {"delivery": delivery_id, "event": known.event})
    return msgspec.structs.replace(known, state=DeliveryState.WAITING, attempts=0, ended_ms=None, next_ms=now)


def _check(name: str, chosen: list[WebhookEvent], description: str | None, secret: str | None) -> None:
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"Webhook name {name!r} is invalid. It must start and end with a letter or digit, be less than 63"
            " characters long, and contain only letters, digits, dots (.), underscores (_), and hyphens (-).",
            path="name",
        )
    if not chosen:
        raise Invalid("Webhook events must be a non-empty list of WebhookEvent objects: [].", path="events")
    checks.check_length("description", description or "", MAX_DESCRIPTION_LENGTH)
    checks.check_length("secret", secret or "", MAX_SECRET_LENGTH)


def _encoded(chosen: list[WebhookEvent]) -> str:
    """In the order in which MLflow shows them; tests send the first."""
    return msgspec.json.encode(sorted(set(chosen))).decode()


def _shown(found: Webhook) -> dict[str, object]:
    """A webhook in the event log, which more people may read: neither the secret nor the path of the URL."""
    scheme = found.url.partition(":")[0].lower()
    return {
        "name": found.name,
        "description": found.description,
        "target": targets.parse(found.url, (scheme,)).origin,
        "events": [str(event) for event in found.events],
        "status": found.status.value,
        "signed": found.sealed is not None,
    }


def _emit(tx: Tx, caller: Caller, found: Webhook, what: str, data: Mapping[str, Any]) -> None:
    tx.topics.add(TOLD)
    tx.emit(Draft(caller.name, found.project, f"registry.webhook.{what}", f"webhook/{found.webhook_id}", data))
