"""Rows of webhooks and of what they were told, as the service and the outbox read them."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, select

from mlwright.kernel.query import Query
from mlwright.registry.webhooks.spec import Delivery, DeliveryState, Webhook, WebhookEvent, WebhookStatus
from mlwright.registry.webhooks.tables import webhook_deliveries, webhooks

_webhooks, _deliveries = webhooks.c, webhook_deliveries.c
WEBHOOK_COLUMNS = (
    _webhooks.id,
    _webhooks.webhook_id,
    _webhooks.project,
    _webhooks.name,
    _webhooks.description,
    _webhooks.url,
    _webhooks.events,
    _webhooks.status,
    _webhooks.sealed,
    _webhooks.created_ms,
    _webhooks.updated_ms,
)
DELIVERY_COLUMNS = (
    _deliveries.delivery_id,
    _deliveries.event,
    _deliveries.seq,
    _deliveries.state,
    _deliveries.attempts,
    _deliveries.response_status,
    _deliveries.problem,
    _deliveries.created_ms,
    _deliveries.ended_ms,
)
by_row = Query(select(*WEBHOOK_COLUMNS).where(_webhooks.id == bindparam("webhook")))
_events = msgspec.json.Decoder(list[WebhookEvent])


def webhook(row: Sequence[Any]) -> Webhook:
    """A row of WEBHOOK_COLUMNS."""
    number, webhook_id, project, name, description, url, events, status, sealed, created, updated = row
    return Webhook(
        number, webhook_id, project, name, description, url, _events.decode(events), WebhookStatus(status), sealed,
        created, updated,
    )  # fmt: skip


def delivery(row: Sequence[Any], next_ms: int | None) -> Delivery:
    """A row of DELIVERY_COLUMNS. `next_ms` is when its webhook is told the next thing."""
    delivery_id, event, seq, state, attempts, status, problem, created, ended = row
    waits = state == DeliveryState.WAITING
    return Delivery(
        delivery_id, event, seq, DeliveryState(state), attempts, status, problem, created, next_ms if waits else None,
        ended,
    )  # fmt: skip
