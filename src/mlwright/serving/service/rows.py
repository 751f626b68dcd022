"""From rows of the tables of serving to endpoints, revisions and rollouts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import bindparam, select

from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.serving.spec import (
    EndpointRevision,
    RevisionState,
    Rollout,
    RolloutRecord,
    RolloutState,
    Traffic,
)
from mlwright.serving.tables import endpoint_revisions, endpoints, rollouts

_plan = msgspec.json.Decoder(Rollout)

_endpoints, _revisions, _rollouts = endpoints.c, endpoint_revisions.c, rollouts.c
_ENDPOINT = [_endpoints[name] for name in (
    "id", "project", "name", "stable", "candidate", "share", "last_revision", "considered",
)]  # fmt: skip
_REVISION = [_revisions[name] for name in (
    "id", "number", "model", "version", "digest", "onnx", "state", "reason", "overridden", "author", "created_ms",
    "ready_ms",
)]  # fmt: skip
_ROLLOUT = [_rollouts[name] for name in (
    "id", "number", "attempt", "stable", "plan", "state", "reason", "step", "looks", "inconclusive", "author",
    "began_ms", "ended_ms",
)]  # fmt: skip

_by_name = Query(
    select(*_ENDPOINT).where(_endpoints.name == bindparam("name"), _endpoints.project == bindparam("project"))
)
_owner = Query(select(_endpoints.project).where(_endpoints.name == bindparam("name")))
_by_row = Query(select(*_ENDPOINT).where(_endpoints.id == bindparam("endpoint")))
_of_rollout = Query(
    select(*_ENDPOINT).join(rollouts, _rollouts.endpoint == _endpoints.id).where(_rollouts.id == bindparam("rollout"))
)
_all = Query(select(*_ENDPOINT).order_by(_endpoints.id))
_revision = Query(
    select(*_REVISION).where(_revisions.endpoint == bindparam("endpoint"), _revisions.number == bindparam("number"))
)
_revision_list = Query(
    select(*_REVISION).where(_revisions.endpoint == bindparam("endpoint")).order_by(_revisions.number.desc())
)
_rollout_list = Query(
    select(*_ROLLOUT).where(_rollouts.endpoint == bindparam("endpoint")).order_by(_rollouts.id.desc())
)


_going_on = Query(
    select(*_ROLLOUT)
    .where(_rollouts.endpoint == bindparam("endpoint"), _rollouts.ended_ms == 0)
    .order_by(_rollouts.id.desc())
    .limit(1)
)
_all_going_on = Query(select(_rollouts.endpoint, *_ROLLOUT).where(_rollouts.ended_ms == 0).order_by(_rollouts.id))


class Serving(NamedTuple):
    """What an endpoint serves, and what was last asked for."""

    row: int
    project: str
    name: str
    traffic: Traffic
    last_revision: int
    considered: str


def by_name(tx: Tx, project: str, name: str) -> Serving | None:
    """The endpoint of that name in a project."""
    row = tx.one(_by_name, {"project": project, "name": name})
    return _serving(row) if row else None


def owner(tx: Tx, name: str) -> str | None:
    """The project that has the name."""
    row = tx.one(_owner, {"name": name})
    return str(row[0]) if row else None


def by_row(tx: Tx, endpoint: int) -> Serving | None:
    """The endpoint in a row."""
    row = tx.one(_by_row, {"endpoint": endpoint})
    return _serving(row) if row else None


def of_rollout(tx: Tx, rollout: int) -> Serving | None:
    """The endpoint of a rollout."""
    row = tx.one(_of_rollout, {"rollout": rollout})
    return _serving(row) if row else None


def everything(tx: Tx) -> list[Serving]:
    """All endpoints of all projects."""
    return [_serving(row) for row in tx.all(_all)]


def revision(tx: Tx, endpoint: int, number: int) -> EndpointRevision | None:
    """One revision."""
    row = tx.one(_revision, {"endpoint": endpoint, "number": number})
    return _as_revision(row) if row else None


def revisions(tx: Tx, endpoint: int) -> list[EndpointRevision]:
    """All revisions, the newest first."""
    return [_as_revision(row) for row in tx.all(_revision_list, {"endpoint": endpoint})]


def rollout_list(tx: Tx, endpoint: int) -> list[RolloutRecord]:
    """All rollouts, the newest first."""
    return [_as_rollout(row) for row in tx.all(_rollout_list, {"endpoint": endpoint})]


def current_rollout(tx: Tx, endpoint: int) -> RolloutRecord | None:
    """The rollout that goes on."""
    row = tx.one(_going_on, {"endpoint": endpoint})
    return _as_rollout(row) if row else None


def going_on(tx: Tx) -> dict[int, RolloutRecord]:
    """The rollouts that go on, by the endpoint's row."""
    return {endpoint: _as_rollout(row) for endpoint, *row in tx.all(_all_going_on)}


def _serving(row: tuple[Any, ...]) -> Serving:
    number, project, name, stable, candidate, share, last, considered = row
    return Serving(number, project, name, Traffic(stable, candidate, share), last, considered)


def _as_revision(row: tuple[Any, ...]) -> EndpointRevision:
    number, place, model, version, digest, onnx, state, *rest = row
    return EndpointRevision(number, place, model, version, digest, bool(onnx), RevisionState(state), *rest)


def _as_rollout(row: Sequence[Any]) -> RolloutRecord:
    number, candidate, attempt, stable, plan, state, reason, step, looks, inconclusive, *rest = row
    return RolloutRecord(
        number,
        candidate,
        attempt,
        stable,
        _plan.decode(plan),
        RolloutState(state),
        reason,
        step,
        looks,
        bool(inconclusive),
        *rest,
    )
