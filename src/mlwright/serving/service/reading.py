"""What people and programs are told of endpoints: as they are asked to be, as they are, and how a rollout stands."""

import msgspec

from mlwright.kernel import store
from mlwright.kernel.errors import NotFound
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.resources import Condition, Resource
from mlwright.kernel.transaction import Tx
from mlwright.serving import verdicts
from mlwright.serving.service import endpoints, rollouts, rows
from mlwright.serving.service import minutes as service_minutes
from mlwright.serving.service.endpoints import KIND
from mlwright.serving.service.minutes import EndpointMinute
from mlwright.serving.service.rows import Serving
from mlwright.serving.spec import Endpoint, EndpointRevision, RolloutRecord, Traffic
from mlwright.serving.verdicts import Judgement, Look


class EndpointSummary(msgspec.Struct, frozen=True):
    """An endpoint in a line.

    Attributes:
        model: what it is asked to serve.
        serves: the version that serves, as MODEL/3; empty when nothing does.
        candidate: the version that is to take over, as MODEL/4; empty when there is none.
        share: of the traffic that the candidate gets, from 0 to 1.
        phase: Pending, Preparing, Serving, RollingOut, Degraded or Failed.
    """

    name: str
    project: str
    model: str
    phase: str
    serves: str
    candidate: str
    share: float


class EndpointDocument(msgspec.Struct, frozen=True):
    """An endpoint in full; `revisions` and the rollout are newest first, `rollout` is the one that goes on."""

    summary: EndpointSummary
    spec: Endpoint
    traffic: Traffic
    conditions: list[Condition]
    revisions: list[EndpointRevision]
    rollout: RolloutRecord | None


class JudgedLook(msgspec.Struct, frozen=True):
    """One look of a rollout and what it amounted to."""

    look: Look
    judgement: Judgement


class RolloutExplained(msgspec.Struct, frozen=True):
    """A rollout with all its numbers.

    Attributes:
        missing: what would bring a verdict, in words; empty when it is over.
        replayed: the looks lead to the same verdicts when they are judged again.
    """

    rollout: RolloutRecord
    looks: list[JudgedLook]
    missing: str
    replayed: bool


def listed(tx: Tx, caller: Caller, project: str = "") -> list[EndpointSummary]:
    """All endpoints that the caller may see."""
    found = []
    for resource in store.list_all(tx, caller, KIND, project):
        serving = rows.by_name(tx, resource.metadata.project, resource.metadata.name)
        if serving is not None:
            found.append(_summary(resource, serving, rows.revisions(tx, serving.row)))
    return found


def whole(tx: Tx, caller: Caller, name: str, project: str = "") -> EndpointDocument:
    """One endpoint. Raises NotFound."""
    resource, serving = endpoints.find(tx, caller, name, Role.VIEWER, project)
    revisions = rows.revisions(tx, serving.row)
    return EndpointDocument(
        _summary(resource, serving, revisions),
        endpoints.spec_of(resource),
        serving.traffic,
        resource.status.conditions,
        revisions,
        rows.current_rollout(tx, serving.row),
    )


def rollout_list(tx: Tx, caller: Caller, name: str, project: str = "") -> list[RolloutRecord]:
    """The rollouts of an endpoint, newest first."""
    _, serving = endpoints.find(tx, caller, name, Role.VIEWER, project)
    return rows.rollout_list(tx, serving.row)


def minutes(tx: Tx, caller: Caller, name: str, since_ms: int, project: str = "") -> list[EndpointMinute]:
    """What the revisions of an endpoint did in each minute from a time on."""
    _, serving = endpoints.find(tx, caller, name, Role.VIEWER, project)
    return service_minutes.since(tx, serving.row, since_ms)


def began_ms(tx: Tx, caller: Caller, name: str, project: str = "") -> int:
    """When the first revision of an endpoint was made: whatever the log has from before was asked of another endpoint
    that had its name, perhaps in another project. For those who may change it. Raises NotFound, Denied.
    """
    _, serving = endpoints.find(tx, caller, name, Role.EDITOR, project)
    return min((each.created_ms for each in rows.revisions(tx, serving.row)), default=tx.now_ms())


def explained(tx: Tx, caller: Caller, name: str, number: int | None = None, project: str = "") -> RolloutExplained:
    """A rollout with all its numbers: the newest one, or that of a revision. Raises NotFound."""
    found = rollout_list(tx, caller, name, project)
    rollout = next((each for each in found if number in {None, each.number}), None)
    if rollout is None:
        which = f" of revision {number}" if number is not None else ""
        raise NotFound(f"the endpoint {name!r} has had no rollout{which}", path="number")
    looks = rollouts.looks(tx, rollout)
    again = verdicts.replay(rollout.plan, rollout.began_ms, [look for look, _ in looks])
    missing = verdicts.missing(rollout.plan, rollouts.evidence(tx, rollout)) if rollout.state.goes_on else ""
    return RolloutExplained(
        rollout, [JudgedLook(*each) for each in looks], missing, again == [judgement for _, judgement in looks]
    )


def _summary(resource: Resource, serving: Serving, revisions: list[EndpointRevision]) -> EndpointSummary:
    names = {each.number: f"{each.model}/{each.version}" for each in revisions}
    return EndpointSummary(
        serving.name,
        serving.project,
        str(resource.spec.get("model", "")),
        resource.status.phase or "Pending",
        names.get(serving.traffic.stable, ""),
        names.get(serving.traffic.candidate, ""),
        serving.traffic.share,
    )
