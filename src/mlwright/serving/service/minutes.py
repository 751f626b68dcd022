"""What revisions did in each minute, for charts; kept for a week."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, select

from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.serving.observing import quantile_s
from mlwright.serving.tables import endpoint_minutes

_KEPT_MS = 7 * 86_400_000

_minutes = endpoint_minutes.c
_counted = upsert(endpoint_minutes)
_add = Query(
    _counted.values({column.name: bindparam(column.name) for column in _minutes}).on_conflict_do_update(
        index_elements=["endpoint", "at_ms", "number"],
        set_={
            "requests": _minutes.requests + _counted.excluded.requests,
            "errors": _minutes.errors + _counted.excluded.errors,
            "p50_ms": _counted.excluded.p50_ms,
            "p99_ms": _counted.excluded.p99_ms,
        },
    )
)
_forget = Query(delete(endpoint_minutes).where(_minutes.at_ms < bindparam("before")))
_since = Query(
    select(_minutes.at_ms, _minutes.number, _minutes.requests, _minutes.errors, _minutes.p50_ms, _minutes.p99_ms)
    .where(_minutes.endpoint == bindparam("endpoint"), _minutes.at_ms >= bindparam("since"))
    .order_by(_minutes.at_ms, _minutes.number)
)


class EndpointMinute(msgspec.Struct, frozen=True):
    """What a revision did in the minute that began at `at_ms`; latencies in milliseconds."""

    at_ms: int
    revision: int
    requests: int
    errors: int
    p50_ms: float
    p99_ms: float


def add(tx: Tx, at_ms: int, counted: Sequence[tuple[int, int, Mapping[str, Any]]]) -> None:
    """Add what revisions did in a minute: the endpoint's row, the revision's number, and its counts."""
    found = [
        {
            "endpoint": endpoint,
            "at_ms": at_ms,
            "number": number,
            "requests": counts["requests"],
            "errors": counts["errors"],
            "p50_ms": quantile_s(counts["latency"], 0.5) * 1_000,
            "p99_ms": quantile_s(counts["latency"], 0.99) * 1_000,
        }
        for endpoint, number, counts in counted
        if counts["requests"]
    ]
    tx.many(_add, found)
    tx.run(_forget, {"before": at_ms - _KEPT_MS})


def since(tx: Tx, endpoint: int, since_ms: int) -> list[EndpointMinute]:
    """The minutes of an endpoint from a time on."""
    return [EndpointMinute(*row) for row in tx.all(_since, {"endpoint": endpoint, "since": since_ms})]
