"""Many webhooks at a glance: of what they are told, and how that goes. Two statements, however many there are."""

from typing import Any

import msgspec
from sqlalchemy import bindparam, func, or_, select

from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query, among, among_texts
from mlwright.kernel.transaction import Tx
from mlwright.registry.webhooks import rows
from mlwright.registry.webhooks.spec import Delivery, DeliveryState, WebhookStatus
from mlwright.registry.webhooks.tables import webhook_deliveries, webhooks

_webhooks, _deliveries = webhooks.c, webhook_deliveries.c
_waits = (_deliveries.webhook == _webhooks.id) & (_deliveries.state == DeliveryState.WAITING.value)
_ended = or_(*(_deliveries.state == each.value for each in (DeliveryState.DELIVERED, DeliveryState.FAILED)))
_waiting = select(func.count()).where(_waits).correlate(webhooks).scalar_subquery()
_oldest = select(func.min(_deliveries.id)).where(_waits).correlate(webhooks).scalar_subquery()
_given_up = (
    select(func.count())
    .where(_deliveries.webhook == _webhooks.id, _deliveries.state == DeliveryState.FAILED.value)
    .correlate(webhooks)
    .scalar_subquery()
)
_last = (
    select(_deliveries.id)
    .where(_deliveries.webhook == _webhooks.id, _ended)
    .order_by(_deliveries.ended_ms.desc(), _deliveries.id.desc())
    .limit(1)
    .correlate(webhooks)
    .scalar_subquery()
)
_projects = Query(select(_webhooks.project).distinct().order_by(_webhooks.project))
_page = Query(
    select(*rows.WEBHOOK_COLUMNS, _webhooks.due_ms, _waiting, _given_up, _oldest, _last)
    .where(among_texts(_webhooks.project, "projects"), _webhooks.id < bindparam("before"))
    .order_by(_webhooks.id.desc())
    .limit(bindparam("limit"))
)
_of = Query(select(_deliveries.id, *rows.DELIVERY_COLUMNS).where(among(_deliveries.id, "deliveries")))


class Watched(msgspec.Struct, frozen=True):
    """A webhook and how telling it goes. Nothing here is its secret.

    Attributes:
        row: its number in the database; webhooks that were made later have higher ones.
        url: null for all but administrators of the project, for whom alone problems are, too.
        last: what ended last, told or given up.
        trying: what could not be told yet and is tried again.
        waiting: how many deliveries wait, `trying` among them.
        given_up: how many of those that are kept could not be told.
    """

    row: int
    id: str
    project: str
    name: str
    description: str
    url: str | None
    events: list[str]
    active: bool
    signed: bool
    last: Delivery | None
    trying: Delivery | None
    waiting: int
    given_up: int


def projects(tx: Tx, caller: Caller) -> list[str]:
    """The projects that hold webhooks and that the caller may see."""
    return [row[0] for row in tx.all(_projects) if caller.may(row[0], Role.VIEWER)]


def page(tx: Tx, caller: Caller, within: list[str], before: int, limit: int) -> list[Watched]:
    """Webhooks of those of the projects that the caller may see, newest first, made before the one in row `before`."""
    seen = [project for project in within if caller.may(project, Role.VIEWER)]
    values = {"projects": msgspec.json.encode(seen).decode(), "before": before, "limit": limit}
    found = tx.all(_page, values)
    wanted = [number for row in found for number in row[-2:] if number is not None]
    told = {row[0]: row[1:] for row in tx.all(_of, {"deliveries": msgspec.json.encode(wanted).decode()})}
    return [_watched(caller, row, told) for row in found]


def _watched(caller: Caller, row: tuple[Any, ...], told: dict[int, tuple[Any, ...]]) -> Watched:
    due, waiting, given_up, oldest, last = row[-5:]
    webhook = rows.webhook(row[:-5])
    may = caller.may(webhook.project, Role.ADMIN)
    first = _delivery(told.get(oldest), due, may)
    return Watched(
        row=webhook.row,
        id=webhook.webhook_id,
        project=webhook.project,
        name=webhook.name,
        description=webhook.description or "",
        url=webhook.url if may else None,
        events=[str(event) for event in webhook.events],
        active=webhook.status is WebhookStatus.ACTIVE,
        signed=webhook.sealed is not None,
        last=_delivery(told.get(last), due, may),
        trying=first if first is not None and first.attempts else None,
        waiting=waiting,
        given_up=given_up,
    )


def _delivery(row: tuple[Any, ...] | None, due_ms: int, may: bool) -> Delivery | None:
    if row is None:
        return None
    found = rows.delivery(row, due_ms)
    return found if may else msgspec.structs.replace(found, problem=None)
