"""What answers were worth: how an A/B test is decided, and how a bandit divides the traffic."""

import math
from typing import NamedTuple

from sqlalchemy import bindparam, select

from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.serving.service import endpoints, rows
from mlwright.serving.tables import endpoint_rewards

#: Neither version of a bandit gets less: what is not tried is not learned about.
_LEAST_SHARE = 0.05

_rewards = endpoint_rewards.c
_new = upsert(endpoint_rewards)
_add = Query(
    _new.values(
        endpoint=bindparam("endpoint"), number=bindparam("number"), rewards=1, total=bindparam("total")
    ).on_conflict_do_update(
        index_elements=["endpoint", "number"],
        set_={"rewards": _rewards.rewards + 1, "total": _rewards.total + _new.excluded.total},
    )
)
_of = Query(
    select(_rewards.rewards, _rewards.total).where(
        _rewards.endpoint == bindparam("endpoint"), _rewards.number == bindparam("number")
    )
)


class Rewards(NamedTuple):
    """How many rewards were given, and their sum."""

    given: int
    total: float


def add(tx: Tx, caller: Caller, name: str, version: int, reward: float, project: str = "") -> None:
    """Say what an answer of a version was worth, from 0 to 1. Raises NotFound for one that gets no requests."""
    if not 0 <= reward <= 1:
        raise Invalid(f"a reward is from 0 to 1, not {reward}", path="reward")
    _, serving = endpoints.find(tx, caller, name, Role.EDITOR, project)
    for number in (serving.traffic.candidate, serving.traffic.stable):
        revision = rows.revision(tx, serving.row, number) if number else None
        if revision is not None and revision.version == version:
            tx.run(_add, {"endpoint": serving.row, "number": number, "total": reward})
            return
    raise NotFound(f"version {version} gets no requests of {name!r}", path="version")


def of(tx: Tx, endpoint: int, number: int) -> Rewards:
    """The rewards of a revision."""
    row = tx.one(_of, {"endpoint": endpoint, "number": number})
    return Rewards(*row) if row else Rewards(0, 0.0)


def share(candidate: Rewards, stable: Rewards) -> float:
    """The candidate's share of the traffic: how probable it is that it is the better one (Thompson sampling).

    Rewards are taken as draws of a Beta distribution with a uniform prior, in its normal approximation. W. Thompson,
    "On the likelihood that one unknown probability exceeds another", Biometrika 25 (1933).
    """
    (mean, variance), (other, spread) = _beta(candidate), _beta(stable)
    probability = 0.5 * (1 + math.erf((mean - other) / math.sqrt(2 * (variance + spread))))
    return min(max(probability, _LEAST_SHARE), 1 - _LEAST_SHARE)


def _beta(rewards: Rewards) -> tuple[float, float]:
    good, bad = 1 + rewards.total, 1 + rewards.given - rewards.total
    whole = good + bad
    return good / whole, good * bad / (whole * whole * (whole + 1))
