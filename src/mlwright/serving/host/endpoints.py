"""Endpoints of a host: which version answers which request, and what happens when it does not."""

import asyncio
import itertools
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mlwright.kernel.errors import MlwrightError, Unavailable
from mlwright.serving.host.answering import Answer
from mlwright.serving.host.batching import ModelFailed, TooManyRequests
from mlwright.serving.host.state import Revision, Served
from mlwright.serving.host.tensors import TEXT, Array, Asked
from mlwright.serving.host.versions import Version, WorkerPlaces
from mlwright.serving.host.workers import WorkerDied

_SLOTS = 1_000_000
#: Copies that may be under way; more are not made, and counted.
_MOST_COPIES = 256


class Told(NamedTuple):
    """An answer, and who gave it."""

    answer: Answer
    revision: Revision


class Endpoint:
    """What is served under one name.

    Attributes:
        tripped: why the candidate gets no requests any more, although the control plane still says so.
        copies_dropped: copies for a shadow that were not made, because too many were under way.
    """

    def __init__(self, served: Served, places: WorkerPlaces, now: Callable[[], float]) -> None:
        self.served = served
        self.versions: dict[int, Version] = {}
        self.tripped: dict[int, str] = {}
        self.copies_dropped = 0
        self.rejected = 0
        self._places = places
        self._now = now
        self._turn = itertools.count()
        self._copies: set[asyncio.Task[None]] = set()
        self.apply(served)

    # --- what it is to serve -----------------------------------------------------------------------------------

    def add(self, served: Served) -> None:
        """Know the revisions, old ones included; clients notice nothing. A number always means the same revision."""
        for revision in served.revisions:
            if revision.number not in self.versions:
                name = f"{served.project}/{served.name}/{revision.number}"
                version = self.versions[revision.number] = Version(name, revision, self._places, served.limits.queue)
                self._places.watch(version)
            self.versions[revision.number].replicas = max(served.scaling.min, 1)

    def apply(self, served: Served) -> None:
        """Serve this from now on: requests under way end with the version that they began with."""
        self.add(served)
        self.served = served
        for number in self.versions.keys() - {revision.number for revision in served.revisions}:
            self._drop(number)

    def _drop(self, number: int) -> None:
        version = self.versions.pop(number)
        self.tripped.pop(number, None)
        self._places.forget(version)
        version.drop()

    def close(self) -> None:
        """It is served no longer."""
        for number in list(self.versions):
            self._drop(number)

    @property
    def stable(self) -> Version:
        """The version that serves."""
        return self.versions[self.served.stable]

    @property
    def candidate(self) -> Version | None:
        """The version that is to take over, unless a guard has stopped it."""
        number = self.served.candidate
        return self.versions.get(number) if number and number not in self.tripped else None

    def choose(self, entity: str) -> Version:
        """The version for a request: the same for the same entity while the shares stay, for most when they rise."""
        candidate, share = self.candidate, self.served.share
        if candidate is None or share <= 0:
            return self.stable
        key = entity.encode() if entity else b"%d" % next(self._turn)
        slot = zlib.crc32(key + self.served.name.encode()) % _SLOTS
        return candidate if slot < share * _SLOTS else self.stable

    # --- requests ----------------------------------------------------------------------------------------------

    async def ask(self, version: Version, asked: Asked) -> Told:
        """An answer for a client. Where the candidate fails, the stable version answers, and the candidate is charged.

        Raises ModelFailed, Unavailable, and TooManyRequests when too many wait.
        """
        if version is not self.stable and version is self.candidate:
            try:
                return Told(await self._counted(version, asked), version.revision)
            except (ModelFailed, WorkerDied, Unavailable, TimeoutError):
                self._guard(version)
                version = self.stable
        answer = await self._counted(version, asked)
        if self.served.mirror and self.candidate is not None and version is self.stable:
            self._copy(asked, answer)
        return Told(answer, version.revision)

    async def _counted(self, version: Version, asked: Asked) -> Answer:
        began = self._now()
        try:
            async with asyncio.timeout(self.served.limits.timeout_ms / 1_000):
                answer = await version.ask(asked)
        except TooManyRequests:
            self.rejected += 1
            raise
        except (ModelFailed, MlwrightError, TimeoutError):
            version.tally.failed(self._now() - began)
            raise
        version.tally.answered(self._now() - began)
        version.tally.looked_at(answer.arrays)
        return answer

    def _guard(self, version: Version) -> None:
        """Stop a candidate at once that does what no statistics need to judge."""
        guards, tally = self.served.guards, version.tally
        if guards.consecutive_errors and tally.run >= guards.consecutive_errors:
            self.tripped[version.revision.number] = f"{tally.run} requests failed one after the other"
        elif guards.process_deaths and tally.deaths >= guards.process_deaths:
            self.tripped[version.revision.number] = f"its process ended {tally.deaths} times"

    # --- copies ------------------------------------------------------------------------------------------------

    def _copy(self, asked: Asked, answer: Answer) -> None:
        candidate = self.candidate
        if candidate is None or next(self._turn) % 1_000 >= self.served.mirror * 1_000:
            return
        if len(self._copies) >= _MOST_COPIES:
            self.copies_dropped += 1
            return
        task = asyncio.create_task(self._shadowed(candidate, asked, answer))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _shadowed(self, candidate: Version, asked: Asked, answer: Answer) -> None:
        try:
            other = await self._counted(candidate, asked)
        except (ModelFailed, MlwrightError, TimeoutError):
            self._guard(candidate)
            return
        candidate.tally.rows += asked.rows
        candidate.tally.disagreements += disagreements(answer.arrays, other.arrays, asked.rows, self.served.tolerance)

    def document(self) -> dict[str, Any]:
        """Its counts."""
        return {
            "name": self.served.name,
            "project": self.served.project,
            "stable": self.served.stable,
            "candidate": self.served.candidate,
            "share": self.served.share,
            "copies_dropped": self.copies_dropped,
            "rejected": self.rejected,
            "tripped": {str(number): reason for number, reason in self.tripped.items()},
            "revisions": {
                str(number): {**version.tally.document(), "loaded": version.loaded, "under_way": version.under_way}
                for number, version in self.versions.items()
            },
        }


def disagreements(left: Sequence[Array], right: Sequence[Array], rows: int, tolerance: float) -> int:
    """Rows that are answered differently: other outputs, other texts, or numbers further apart than the tolerance."""
    others = {each.name: each for each in right}
    if set(others) != {each.name for each in left}:
        return rows
    differing: set[int] = set()
    for each in left:
        other = others[each.name]
        if tuple(each.shape) != tuple(other.shape) or (each.datatype == TEXT) != (other.datatype == TEXT):
            return rows
        if each.data == other.data:
            continue
        pairs = zip(each.values(), other.values(), strict=True)
        per_row = max(math.prod(each.shape[1:]), 1)
        differing |= {place // per_row for place, (a, b) in enumerate(pairs) if not _same(a, b, tolerance)}
    return len(differing)


def _same(left: Any, right: Any, tolerance: float) -> bool:
    if left == right or (left != left and right != right):
        return True
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return math.isclose(left, right, rel_tol=tolerance, abs_tol=tolerance)
    return False
