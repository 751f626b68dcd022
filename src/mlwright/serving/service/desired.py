"""What a host is to serve: read from what endpoints serve, in one snapshot."""

from collections.abc import Mapping
from typing import NamedTuple

from mlwright.kernel import events, store
from mlwright.kernel.errors import Invalid
from mlwright.kernel.resources import Resource
from mlwright.kernel.transaction import Tx
from mlwright.serving.host.state import Desired, Revision, Served
from mlwright.serving.service import endpoints, keys, rows
from mlwright.serving.service.endpoints import KIND, SYSTEM
from mlwright.serving.service.rows import Serving
from mlwright.serving.spec import Endpoint, EndpointRevision, RevisionState, Strategy

#: Revisions beside the one that serves that stay loaded, so that going back to them takes no time.
_KEPT = 2
#: No key has this digest.
_NOBODY = {"": ""}


class Wanted(NamedTuple):
    """An endpoint as it is to be served.

    Attributes:
        spec: None where an earlier release took what this one does not: then it stays as it is.
        revisions: that have to be prepared on this machine, those that get requests first.
        digests: of the keys that open it, by name.
    """

    serving: Serving
    spec: Endpoint | None
    revisions: list[EndpointRevision]
    digests: dict[str, str]

    @property
    def needed(self) -> set[int]:
        """Numbers of the revisions that get requests."""
        return {self.serving.traffic.stable, self.serving.traffic.candidate} - {0}


def wanted(tx: Tx) -> tuple[int, list[Wanted]]:
    """All endpoints, and the number of the newest event: each change of an endpoint has one."""
    resources = {(each.metadata.project, each.metadata.name): each for each in store.list_all(tx, SYSTEM, KIND)}
    found = []
    for serving in rows.everything(tx):
        resource = resources.get((serving.project, serving.name))
        if resource is not None:
            digests = keys.digests(tx, serving.row)
            found.append(Wanted(serving, _spec_of(resource), _revisions(tx, serving), digests))
    return events.head(tx), found


def _spec_of(resource: Resource) -> Endpoint | None:
    try:
        return endpoints.spec_of(resource)
    except Invalid:
        return None


def _revisions(tx: Tx, serving: Serving) -> list[EndpointRevision]:
    """Those that get requests, those that are to, and the newest ones that did."""
    every = [each for each in rows.revisions(tx, serving.row) if each.state is not RevisionState.FAILED]
    served = {serving.traffic.stable, serving.traffic.candidate}
    needed = [each for each in every if each.number in served or each.state is RevisionState.PREPARING]
    return [*needed, *[each for each in every if each not in needed][:_KEPT]]


class Place(NamedTuple):
    """The host of this machine.

    Attributes:
        open: whether an endpoint without keys lets everybody in: it can be reached from this machine only.
        memory_mib: that all models together may take, 0 for as much as there is.
    """

    open: bool
    memory_mib: int = 0


def desired(
    generation: int, every: list[Wanted], prepared: Mapping[int, Revision], last: Mapping[str, Served], place: Place
) -> Desired:
    """What to tell a host.

    Args:
        prepared: what is ready on this machine, by the revision's row.
        last: what the host was told before, by name: it stays until all that an endpoint needs is prepared.
        place: where it is.
    """
    found = []
    for each in every:
        ready = {revision.number for revision in each.revisions if revision.row in prepared}
        if each.spec is not None and each.serving.traffic.stable and each.needed <= ready:
            found.append(_served(each, each.spec, prepared, place))
        elif each.serving.name in last and each.serving.traffic.stable:
            found.append(last[each.serving.name])
    # The key of an endpoint opens its own part of the metrics.
    return Desired(generation, found, place.memory_mib, {} if place.open else _NOBODY)


def _served(each: Wanted, spec: Endpoint, prepared: Mapping[int, Revision], place: Place) -> Served:
    traffic, rollout = each.serving.traffic, spec.rollout
    shadow = traffic.candidate and rollout.strategy is Strategy.SHADOW
    return Served(
        name=each.serving.name,
        project=each.serving.project,
        stable=traffic.stable,
        revisions=[prepared[revision.row] for revision in each.revisions if revision.row in prepared],
        candidate=traffic.candidate,
        share=traffic.share,
        mirror=rollout.shadow.sample if shadow else 0.0,
        tolerance=rollout.shadow.tolerance,
        entity=spec.entity,
        keys=each.digests or ({} if place.open else _NOBODY),
        guards=rollout.guards,
        limits=spec.limits,
        logging=spec.logging,
        scaling=spec.scaling,
    )
