"""What a host has counted, as looks of a rollout and as minutes for charts: differences between two documents."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mlwright.serving.host.counts import BOUNDS
from mlwright.serving.spec import Objective
from mlwright.serving.verdicts import Arm, Look

_SUMS = ("requests", "errors", "wrong_outputs", "numbers", "nans", "deaths", "rows", "disagreements")

Document = Mapping[str, Any]


class Seen(NamedTuple):
    """The counts of an endpoint's revisions at one time.

    Attributes:
        host: whose they are; another host begins at zero.
        revisions: by number.
    """

    host: str
    revisions: Mapping[int, Mapping[str, Any]]


def seen(document: Document, name: str) -> Seen | None:
    """An endpoint in what a host has counted."""
    for each in document["endpoints"]:
        if each["name"] == name:
            return Seen(document["host"], {int(number): counts for number, counts in each["revisions"].items()})
    return None


def difference(before: Seen | None, after: Seen, number: int) -> dict[str, Any]:
    """What a revision did between two documents; all that it did, where the first is another host's."""
    now = after.revisions.get(number)
    then = before.revisions.get(number) if before is not None and before.host == after.host else None
    if now is None:
        return {**dict.fromkeys(_SUMS, 0), "run": 0, "latency": [0] * (len(BOUNDS) + 1)}
    old = then or {}
    latency = [
        count - was for count, was in zip(now["latency"], old.get("latency", [0] * len(now["latency"])), strict=True)
    ]
    return {**{name: now[name] - old.get(name, 0) for name in _SUMS}, "run": now["run"], "latency": latency}


def look(
    before: Seen, after: Seen, *, numbers: tuple[int, int], step: int, bound: int, at_ms: int, tripped: str
) -> Look:
    """One look at a candidate and the version that serves.

    Args:
        numbers: of the candidate's revision and the stable one.
        bound: bucket of latency from which on a request is slow; fixed before the look.
        tripped: why the host gives the candidate no more requests.
    """
    candidate, stable = (_arm(difference(before, after, number), bound) for number in numbers)
    return Look(at_ms, step, candidate, stable, tripped)


def _arm(counts: Mapping[str, Any], bound: int) -> Arm:
    return Arm(
        **{name: counts[name] for name in _SUMS},
        slow=sum(counts["latency"][bound:]),
        trailing_errors=min(counts["run"], counts["requests"]),
    )


def slow_bound(stable: Mapping[str, Any], objective: Objective) -> int:
    """The bucket from which on a request counts as slow, by what the stable version did so far.

    Args:
        stable: its counts.
    """
    limit = quantile_s(stable["latency"], objective.latency_quantile) * objective.latency_tolerance
    return min(bisect_left(BOUNDS, limit) + 1, len(BOUNDS))


def quantile_s(latency: Sequence[int], share: float) -> float:
    """The upper bound in seconds of the bucket that a quantile lies in; 0 when nothing was counted."""
    total, reached = sum(latency), 0
    for place, count in enumerate(latency):
        reached += count
        if total and reached >= share * total:
            return BOUNDS[min(place, len(BOUNDS) - 1)]
    return 0.0
