"""From the event log to deliveries, and from deliveries to their ends.

A webhook remembers up to where in the log it has been served; what comes after becomes rows, in the transaction that
moves this number on. So nothing is left out and nothing is written down twice, whoever dies whenever. A server claims a
webhook with a token and a lease for the oldest delivery that waits: deliveries of a webhook keep their order. When a
server dies after it sent something and before it noted that, the webhook is told twice, with the same id.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from mlwright.kernel import events
from mlwright.kernel.events import Draft, Event
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.registry.spec import TOLD
from mlwright.registry.webhooks import payloads, rows
from mlwright.registry.webhooks.sending import MAX_PAUSE_S
from mlwright.registry.webhooks.service import new_id
from mlwright.registry.webhooks.spec import DeliveryState, Webhook, WebhookStatus
from mlwright.registry.webhooks.tables import webhook_deliveries, webhooks

#: Who notes what became of deliveries.
ACTOR = "system"
#: So many deliveries of a webhook are kept after they have ended.
KEPT = 200
#: Events that become deliveries in one transaction.
_EVENTS = 500
_MAX_PAUSE_MS = int(MAX_PAUSE_S * 1_000)
_MAX_PROBLEM_LENGTH = 500

_webhooks, _deliveries, _log = webhooks.c, webhook_deliveries.c, events.events.c
_oldest = (
    select(func.min(_deliveries.id))
    .where(_deliveries.webhook == _webhooks.id, _deliveries.state == DeliveryState.WAITING.value)
    .correlate(webhooks)
    .scalar_subquery()
)
_active = Query(
    select(_webhooks.id, _webhooks.seen, _webhooks.due_ms, _webhooks.lease_ms, _oldest)
    .where(_webhooks.status == WebhookStatus.ACTIVE.value)
    .order_by(_webhooks.due_ms, _webhooks.id)
)
_next = Query(
    select(_oldest).where(_webhooks.id == bindparam("webhook"), _webhooks.status == WebhookStatus.ACTIVE.value)
)
_listening = Query(select(*rows.WEBHOOK_COLUMNS, _webhooks.seen).where(_webhooks.status == WebhookStatus.ACTIVE.value))
_for_webhooks = or_(*(_log.type == each for each in payloads.TYPES))
_happened = Query(
    select(*_log)
    .where(_log.seq > bindparam("after"), _log.seq <= bindparam("head"), _for_webhooks)
    .order_by(_log.seq)
    .limit(_EVENTS)
)
_seen = Query(
    update(webhooks)
    .where(_webhooks.status == WebhookStatus.ACTIVE.value, _webhooks.seen < bindparam("upto"))
    .values(seen=bindparam("upto"))
)
_add = Query(
    insert(webhook_deliveries).values(
        {name: bindparam(name) for name in ("webhook", "delivery_id", "event", "seq", "body", "created_ms")}
        | {"state": DeliveryState.WAITING.value, "attempts": 0}
    )
)
_claim = Query(
    update(webhooks)
    .where(_webhooks.id == bindparam("webhook_"))
    .values(token=bindparam("new_token"), lease_ms=bindparam("until"))
)
_delivery = Query(
    select(_deliveries.id, _deliveries.delivery_id, _deliveries.event, _deliveries.body, _deliveries.attempts).where(
        _deliveries.id == bindparam("delivery")
    )
)
_let_go = Query(
    update(webhooks)
    .where(_webhooks.id == bindparam("webhook_"), _webhooks.token == bindparam("own_token"))
    .values(token="", lease_ms=0, due_ms=bindparam("due"))
)
_note = Query(
    update(webhook_deliveries)
    .where(_deliveries.id == bindparam("delivery_"))
    .values(
        {name: bindparam(f"new_{name}") for name in ("state", "attempts", "response_status", "problem", "ended_ms")}
    )
)
_ended = (_deliveries.webhook == bindparam("webhook_")) & (_deliveries.state != DeliveryState.WAITING.value)
_last_kept = (
    select(_deliveries.id).where(_ended).order_by(_deliveries.id.desc()).limit(1).offset(KEPT).scalar_subquery()
)
_forget = Query(delete(webhook_deliveries).where(_ended, _deliveries.id <= _last_kept))
_release = Query(update(webhooks).where(_webhooks.token == bindparam("own_token")).values(token="", lease_ms=0))
_release_all = Query(update(webhooks).where(_webhooks.token != "").values(token="", lease_ms=0))


class Agenda(NamedTuple):
    """What there is to do. `due_ms` is when the next delivery may be tried; None when none waits."""

    news: bool
    due_ms: int | None


class Doubted(NamedTuple):
    """Rows of webhooks that were slow lately or could not be told something, and how many of them may be told now."""

    rows: Collection[int] = ()
    most: int = 0


#: When none is known to be in trouble.
NOBODY = Doubted()


class Work(NamedTuple):
    """A delivery to try, of a webhook that was claimed with `token`. `attempts` counts those before."""

    webhook: Webhook
    token: str
    delivery: int
    delivery_id: str
    event: str
    body: bytes
    attempts: int


class Outcome(NamedTuple):
    """What became of an attempt. `pause_ms`: how long to wait before another one."""

    state: DeliveryState
    response_status: int | None = None
    problem: str | None = None
    pause_ms: int = 0


def agenda(tx: Tx, doubted: Doubted = NOBODY) -> Agenda:
    """What there is to do, without doing it."""
    active, now = tx.all(_active), tx.now_ms()
    if not active:
        return Agenda(news=False, due_ms=None)
    left_out = doubted.rows if doubted.most <= 0 else ()
    waiting = [row for row in active if row[-1] is not None and row[0] not in left_out]
    times = [_free_ms(now, due, lease) for _, _, due, lease, _ in waiting]
    news = events.head(tx) > min(seen for _, seen, _, _, _ in active)
    return Agenda(news, min(times, default=None))


class Taken(NamedTuple):
    """What was claimed, and whether more has happened than was looked at."""

    works: list[Work]
    more: bool


def take(tx: Tx, token: str, most: int, lease_ms: int, doubted: Doubted = NOBODY) -> Taken:
    """Make deliveries of what has happened, and claim what is due."""
    more = advance(tx)
    return Taken(claim(tx, token, most, lease_ms, doubted), more)


def advance(tx: Tx) -> bool:
    """Make deliveries of what has happened. Returns whether more has happened than was looked at."""
    listening = [(rows.webhook(row[:-1]), int(row[-1])) for row in tx.all(_listening)]
    if not listening:
        return False
    head = events.head(tx)
    found = tx.all(_happened, {"after": min(seen for _, seen in listening), "head": head})
    for row in found:
        _make(tx, events.from_row(row), listening)
    complete = len(found) < _EVENTS
    tx.run(_seen, {"upto": head if complete else found[-1][0]})
    return not complete


def _make(tx: Tx, event: Event, listening: Sequence[tuple[Webhook, int]]) -> None:
    """The deliveries of one event."""
    told = payloads.of(event)
    if told is None:
        return
    kind, data = told
    chosen = [
        webhook
        for webhook, seen in listening
        if event.seq > seen and webhook.project == event.project and kind in webhook.events
    ]
    body = payloads.body(kind, event.at_ms, data).decode() if chosen else ""
    common = {"event": str(kind), "seq": event.seq, "body": body, "created_ms": tx.now_ms()}
    tx.many(_add, [{**common, "webhook": each.row, "delivery_id": new_id(tx.ids)} for each in chosen])


def claim(tx: Tx, token: str, most: int, lease_ms: int, doubted: Doubted = NOBODY) -> list[Work]:
    """Take the oldest deliveries of up to `most` webhooks that are due and nobody else's."""
    now, room = tx.now_ms(), doubted.most
    taken: list[Work] = []
    for number, _, due, lease, oldest in tx.all(_active):
        if len(taken) >= most:
            break
        is_doubted = number in doubted.rows
        if oldest is not None and _free_ms(now, due, lease) <= now and (room > 0 or not is_doubted):
            room -= is_doubted
            taken += _claimed(tx, number, oldest, token, now + lease_ms)
    return taken


def _claimed(tx: Tx, number: int, oldest: int, token: str, until_ms: int) -> list[Work]:
    """The work that is the delivery `oldest` of the webhook `number`, claimed."""
    webhook, waiting = tx.one(rows.by_row, {"webhook": number}), tx.one(_delivery, {"delivery": oldest})
    if webhook is None or waiting is None:
        return []
    tx.run(_claim, {"webhook_": number, "new_token": token, "until": until_ms})
    delivery, delivery_id, event, body, attempts = waiting
    return [Work(rows.webhook(webhook), token, delivery, delivery_id, event, body.encode(), attempts)]


def go_on(tx: Tx, work: Work, outcome: Outcome, lease_ms: int) -> Work | None:
    """Note what became of an attempt, and claim the next delivery; None when there is none, or it must wait.

    After a failure others have their turn first.
    """
    if not finish(tx, work, outcome) or outcome.state is not DeliveryState.DELIVERED:
        return None
    row = tx.one(_next, {"webhook": work.webhook.row})
    if row is None or row[0] is None:
        return None
    return next(iter(_claimed(tx, work.webhook.row, row[0], work.token, tx.now_ms() + lease_ms)), None)


def _free_ms(now: int, due_ms: int, lease_ms: int) -> int:
    """When a webhook may be told something. A time that lies too far ahead is of a clock that was moved back."""
    free = max(due_ms, lease_ms)
    return free if free <= now + _MAX_PAUSE_MS else now


def finish(tx: Tx, work: Work, outcome: Outcome) -> bool:
    """Note what became of an attempt. Returns False, and changes nothing, when somebody else has the webhook by now."""
    now = tx.now_ms()
    own = {"webhook_": work.webhook.row, "own_token": work.token, "due": now + outcome.pause_ms}
    if not tx.run(_let_go, own):
        return False
    tx.topics.add(TOLD)
    waits = outcome.state is DeliveryState.WAITING
    tx.run(
        _note,
        {
            "delivery_": work.delivery,
            "new_state": outcome.state.value,
            "new_attempts": work.attempts + 1,
            "new_response_status": outcome.response_status,
            "new_problem": outcome.problem[:_MAX_PROBLEM_LENGTH] if outcome.problem else None,
            "new_ended_ms": None if waits else now,
        },
    )
    if not waits:
        tx.run(_forget, {"webhook_": work.webhook.row})
    if outcome.state is DeliveryState.FAILED:
        _tell_failed(tx, work, outcome)
    return True


def _tell_failed(tx: Tx, work: Work, outcome: Outcome) -> None:
    data: dict[str, Any] = {"delivery": work.delivery_id, "event": work.event, "attempts": work.attempts + 1}
    data |= {"response_status": outcome.response_status, "problem": outcome.problem}
    subject = f"webhook/{work.webhook.webhook_id}"
    tx.emit(Draft(ACTOR, work.webhook.project, "registry.webhook.failed", subject, data))


def release(tx: Tx, token: str) -> None:
    """Let go of what this server has claimed: it stops."""
    tx.run(_release, {"own_token": token})
    tx.topics.add(TOLD)


def release_all(tx: Tx) -> None:
    """Let go of everything: there is no other server on this database, and the one before died."""
    tx.run(_release_all)
