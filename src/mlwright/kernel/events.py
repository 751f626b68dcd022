"""The event log: outbox, audit trail and watch stream in one table.

Every mutation drafts its event in the transaction that makes the change; sequence numbers and hashes are given when
the transaction commits. Each event's hash covers its content and the hash before it, so that a changed, removed or
inserted row is found and named by `verify`. The newest sequence number and hash are also kept in `event_head`, so that
cutting off the end is found too.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from sqlalchemy import Table, bindparam, insert, select, update

from mlwright.kernel.columns import METADATA, Int64, String, key, required
from mlwright.kernel.query import Query

GENESIS = "0" * 64

events = Table(
    "events",
    METADATA,
    key("seq", Int64),
    required("at_ms", Int64),
    required("actor", String),
    required("project", String),
    required("type", String),
    required("subject", String),
    required("data", String),
    required("previous", String),
    required("hash", String),
)

event_head = Table("event_head", METADATA, key("id", Int64), required("seq", Int64), required("hash", String))


class Draft(msgspec.Struct, frozen=True):
    """An event before it has its place in the log.

    Attributes:
        actor: name of the principal.
        project: project of the subject ("" for the server itself).
        type: dotted lower-case name, for example "tracking.run.created".
        subject: what changed, for example "run/0123…".
        data: what is to be known about it; for changes the keys "before" and "after".
    """

    actor: str
    project: str
    type: str
    subject: str
    data: Mapping[str, object]


class Event(msgspec.Struct, frozen=True):
    """One line of the log."""

    seq: int
    at_ms: int
    actor: str
    project: str
    type: str
    subject: str
    data: msgspec.Raw
    previous: str
    hash: str


class Finding(msgspec.Struct, frozen=True):
    """Where the log is broken, and how."""

    seq: int
    problem: str


class Verdict(msgspec.Struct, frozen=True):
    """What verification of the log found. `head` is the hash of the newest event: keep it elsewhere as a witness."""

    events: int
    head: str
    findings: list[Finding]


class Reader(Protocol):
    """The part of a transaction that verification and reading need."""

    def all(self, query: Query, params: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]: ...
    def one(self, query: Query, params: Mapping[str, Any] | None = None) -> tuple[Any, ...] | None: ...


class Writer(Reader, Protocol):
    """The part of a transaction that appending needs."""

    def run(self, query: Query, params: Mapping[str, Any] | None = None) -> int: ...
    def many(self, query: Query, rows: Sequence[Mapping[str, Any]]) -> None: ...


_HEAD = Query(select(event_head.c.seq, event_head.c.hash).where(event_head.c.id == 1))
_NEWEST = Query(select(events.c.at_ms).join(event_head, event_head.c.seq == events.c.seq).where(event_head.c.id == 1))
_START = Query(insert(event_head).values(id=1, seq=bindparam("seq"), hash=bindparam("hash")))
_MOVE = Query(
    update(event_head).where(event_head.c.id == 1).values(seq=bindparam("new_seq"), hash=bindparam("new_hash"))
)
_APPEND = Query(insert(events).values({column.name: bindparam(column.name) for column in events.c}))
_FROM = Query(
    select(*events.c).where(events.c.seq > bindparam("after")).order_by(events.c.seq).limit(bindparam("limit"))
)

_BY_HASH = Query(select(events.c.seq).where(events.c.hash == bindparam("hash")))

_encoder = msgspec.json.Encoder(order="deterministic")


def _digest(row: Mapping[str, Any]) -> str:
    content = [row[name] for name in ("seq", "at_ms", "actor", "project", "type", "subject", "data", "previous")]
    return hashlib.sha256(_encoder.encode(content)).hexdigest()


def append(tx: Writer, drafts: Sequence[Draft], at_ms: int) -> int:
    """Give the drafts their places at the end of the log. Returns the newest sequence number."""
    head = tx.one(_HEAD)
    seq, previous = (head[0], head[1]) if head else (0, GENESIS)
    rows: list[dict[str, Any]] = []
    for draft in drafts:
        seq += 1
        row: dict[str, Any] = {
            "seq": seq,
            "at_ms": at_ms,
            "actor": draft.actor,
            "project": draft.project,
            "type": draft.type,
            "subject": draft.subject,
            "data": _encoder.encode(draft.data).decode(),
            "previous": previous,
        }
        previous = row["hash"] = _digest(row)
        rows.append(row)
    tx.many(_APPEND, rows)
    if head:
        tx.run(_MOVE, {"new_seq": seq, "new_hash": previous})
    else:
        tx.run(_START, {"seq": seq, "hash": previous})
    return seq


def read(tx: Reader, after: int, limit: int) -> list[Event]:
    """Up to `limit` events with a sequence number above `after`, oldest first."""
    rows = tx.all(_FROM, {"after": after, "limit": limit})
    return [from_row(row) for row in rows]


def from_row(row: Sequence[Any]) -> Event:
    """An event from a row of its table."""
    seq, at_ms, actor, project, kind, subject, data, previous, own = row
    return Event(seq, at_ms, actor, project, kind, subject, msgspec.Raw(data.encode()), previous, own)


def head(tx: Reader) -> int:
    """The newest sequence number, 0 when nothing has happened yet."""
    found = tx.one(_HEAD)
    return int(found[0]) if found else 0


def newest_ms(tx: Reader) -> int:
    """When the newest event happened, in Unix milliseconds; 0 when nothing has. The clock may say less by now."""
    found = tx.one(_NEWEST)
    return int(found[0]) if found else 0


def verify(tx: Reader, expect: str = "", page: int = 5_000) -> Verdict:
    """Recompute every hash of the log and name each row that was changed, removed or added.

    Args:
        expect: hash of an event as noted elsewhere before; a log that was rewritten does not contain it.
        page: rows read at a time.
    """
    findings: list[Finding] = []
    count, expected_seq, previous = 0, 1, GENESIS
    for row in _rows(tx, page):
        seq = row["seq"]
        count += 1
        if seq != expected_seq:
            missing = f"event {expected_seq}" if seq == expected_seq + 1 else f"events {expected_seq} to {seq - 1}"
            findings.append(Finding(expected_seq, f"{missing} removed"))
        elif row["previous"] != previous:
            findings.append(Finding(seq, f"event {seq} does not continue event {seq - 1}"))
        if _digest(row) != row["hash"]:
            findings.append(Finding(seq, f"event {seq} was changed"))
        expected_seq, previous = seq + 1, row["hash"]
    recorded = tx.one(_HEAD)
    if recorded and recorded[0] >= expected_seq:
        findings.append(Finding(expected_seq, f"events {expected_seq} to {recorded[0]} removed from the end"))
    elif (recorded[1] if recorded else GENESIS) != previous:
        findings.append(Finding(expected_seq - 1, "the newest event is not the one recorded as head"))
    if expect and tx.one(_BY_HASH, {"hash": expect}) is None:
        findings.append(Finding(0, f"the log does not contain the expected event {expect}"))
    return Verdict(count, previous, findings)


def _rows(tx: Reader, page: int) -> Iterator[dict[str, Any]]:
    after = -(2**62)
    while rows := tx.all(_FROM, {"after": after, "limit": page}):
        yield from (dict(zip(events.c.keys(), row, strict=True)) for row in rows)
        after = rows[-1][0]
