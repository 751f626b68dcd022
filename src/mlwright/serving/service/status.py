"""What is so now, as the status of an endpoint's resource."""

from typing import NamedTuple

from mlwright.kernel import store
from mlwright.kernel.resources import Condition, Status
from mlwright.kernel.transaction import Tx
from mlwright.serving.service import rows
from mlwright.serving.service.endpoints import KIND, SYSTEM
from mlwright.serving.service.rows import Serving
from mlwright.serving.spec import EndpointRevision, RevisionState


class Problem(NamedTuple):
    """Why something is not as it was asked for. `reason` is one word in CamelCase."""

    reason: str
    message: str


def change(tx: Tx, endpoint: Serving, problem: Problem | None, served: int) -> Status | None:
    """The status that an endpoint should have; None where it has it, or is gone.

    Args:
        served: number of the revision that answers requests, as the host says; 0 when none does.
    """
    serving = rows.by_row(tx, endpoint.row)
    if serving is None or not store.exists(tx, KIND, endpoint.project, endpoint.name):
        return None
    resource = store.get(tx, SYSTEM, KIND, endpoint.name, endpoint.project)
    newest = rows.revision(tx, serving.row, serving.last_revision) if serving.last_revision else None
    if problem is None and newest is not None and newest.state is RevisionState.FAILED:
        problem = Problem("RevisionFailed", f"revision {newest.number}: {newest.reason}")
    found = Status(
        _phase(tx, serving, newest, problem, served),
        [_condition(resource.status, *each) for each in _aspects(served, problem)],
        resource.metadata.generation,
    )
    return None if found == resource.status else found


def write(tx: Tx, endpoint: Serving, status: Status) -> None:
    """Set it, unless the endpoint is gone."""
    if store.exists(tx, KIND, endpoint.project, endpoint.name):
        stamped = store.timestamp(tx.now_ms())
        conditions = [
            Condition(each.type, each.status, each.reason, each.message, each.last_transition_time or stamped)
            for each in status.conditions
        ]
        found = Status(status.phase, conditions, status.observed_generation)
        store.set_status(tx, SYSTEM, KIND, endpoint.name, found, endpoint.project)


def _phase(tx: Tx, serving: Serving, newest: EndpointRevision | None, problem: Problem | None, served: int) -> str:
    if rows.current_rollout(tx, serving.row) is not None:
        return "RollingOut"
    if newest is not None and newest.state is RevisionState.PREPARING:
        return "Preparing"
    if served:
        return "Degraded" if problem is not None else "Serving"
    return "Failed" if problem is not None else "Pending"


def _aspects(served: int, problem: Problem | None) -> list[tuple[str, str, str, str]]:
    told = ("False", problem.reason, problem.message) if problem is not None else ("True", "AsAsked", "")
    ready = ("True", "Serving", f"revision {served} serves") if served else ("False", "NotServing", "nothing serves")
    return [("Ready", *ready), ("AsAsked", *told)]


def _condition(before: Status, kind: str, word: str, reason: str, message: str) -> Condition:
    """With the time of its last transition, where it has not changed since."""
    old = next((each for each in before.conditions if each.type == kind), None)
    since = old.last_transition_time if old is not None and old.status == word else ""
    return Condition(kind, word, reason, message, since)
