"""Endpoints of a host: which version answers which request, and what happens when it does not."""

import asyncio
import itertools
import math
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from mlwright.kernel.errors import Unavailable
from mlwright.serving.host.admission import Door
from mlwright.serving.host.answering import Answer
from mlwright.serving.host.batching import Asking, ModelFailed, TooManyRequests
from mlwright.serving.host.places import WorkerPlaces
from mlwright.serving.host.state import Revision, Served
from mlwright.serving.host.tensors import TEXT, Array, Asked
from mlwright.serving.host.versions import Version

_SLOTS = 1_000_000
#: How often it is looked for requests that take too long.
_LOOK_S = 0.02
#: Copies that may be under way; more are not made, and counted.
_MOST_COPIES = 256


class Told(NamedTuple):
    """An answer, and who gave it."""

    answer: Answer
    revision: Revision


class _Question:
    """What a version is asked, until it is counted.

    Attributes:
        until: when it is given up on.
        is_hurried: its caller waits less long than the endpoint would.
    """

    __slots__ = ("_endpoint", "_then", "_version", "asking", "began", "is_hurried", "until")

    def __init__(
        self,
        endpoint: "Endpoint",
        version: Version,
        then: Callable[[Answer | Exception], None],
        began: float,
        until: float | None,
    ) -> None:
        self._endpoint = endpoint
        self._version = version
        self._then = then
        self.began = began
        self.is_hurried = until is not None
        self.until = until if until is not None else began + endpoint.served.limits.timeout_ms / 1_000
        self.asking: Asking | None = None

    def given_up(self) -> None:
        """It has taken too long: what comes later is no answer any more."""
        if self.asking is not None:
            self.asking.end(TimeoutError())

    def answered(self, outcome: Answer | Exception) -> None:
        self._endpoint.count(self, self._version, outcome)
        self._then(outcome)


class Endpoint:
    """What is served under one name.

    Attributes:
        tripped: why the candidate gets no requests any more, although the control plane still says so.
        copies_dropped: copies for a shadow that were not made, because too many were under way.
        door: who may ask.
        refused: requests that were not answered, by the code of the reason.
    """

    def __init__(self, served: Served, places: WorkerPlaces, now: Callable[[], float]) -> None:
        self.served = served
        self.versions: dict[int, Version] = {}
        self.tripped: dict[int, str] = {}
        self.copies_dropped = 0
        self.rejected = 0
        self.door = Door(served.keys)
        self.refused: Counter[str] = Counter()
        self._places = places
        self._now = now
        self._turn = itertools.count()
        self._copies = 0
        self._open: dict[_Question, None] = {}
        self._look: asyncio.TimerHandle | None = None
        self.apply(served)

    # --- what it is to serve -----------------------------------------------------------------------------------

    def add(self, served: Served) -> None:
        """Know the revisions, old ones included; clients notice nothing. A number always means the same revision."""
        for revision in served.revisions:
            if revision.number not in self.versions:
                name = f"{served.project}/{served.name}/{revision.number}"
                version = self.versions[revision.number] = Version(name, revision, self._places, served.limits.queue)
                stable = self.versions.get(self.served.stable)
                version.replicas = min(max(stable.replicas if stable else 1, served.scaling.min, 1), served.scaling.max)
                self._places.watch(version)
            self.versions[revision.number].limit(served.limits.queue, served.limits.memory_mib << 20)

    def apply(self, served: Served) -> None:
        """Serve this from now on: requests under way end with the version that they began with."""
        self.add(served)
        self.served = served
        self.door.change(served.keys)
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

    def has_traffic(self, version: Version) -> bool:
        """Whether requests or copies of them go to the version."""
        return version is self.stable or version is self.candidate

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
        """An answer for a client. Raises what `begin` ends with."""
        future: asyncio.Future[Told] = asyncio.get_running_loop().create_future()

        def settle(outcome: Told | Exception) -> None:
            if future.done():
                return
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self.begin(version, asked, settle)
        return await future

    def begin(
        self, version: Version, asked: Asked, then: Callable[[Told | Exception], None], until: float | None = None
    ) -> None:
        """Get an answer for a client. Where the candidate fails, the stable version answers, and it is charged.

        Args:
            then: gets the answer, or ModelFailed, Unavailable, TimeoutError, or TooManyRequests when too many wait.
            until: when the client no longer waits, if that is sooner than the endpoint gives up.
        """
        if version is not self.stable and version is self.candidate:
            self._counted(version, asked, partial(self._candidate_told, version, asked, then, until), until)
        else:
            self._counted(version, asked, partial(self._told, version, asked, then), until)

    def _candidate_told(
        self,
        version: Version,
        asked: Asked,
        then: Callable[[Told | Exception], None],
        until: float | None,
        outcome: Answer | Exception,
    ) -> None:
        if isinstance(outcome, TimeoutError) and until is not None and until <= self._now():
            then(outcome)
        elif isinstance(outcome, (ModelFailed, Unavailable, TimeoutError)):
            self._guard(version)
            self._counted(self.stable, asked, partial(self._told, self.stable, asked, then), until)
        else:
            then(outcome if isinstance(outcome, Exception) else Told(outcome, version.revision))

    def _told(
        self, version: Version, asked: Asked, then: Callable[[Told | Exception], None], outcome: Answer | Exception
    ) -> None:
        if isinstance(outcome, Exception):
            then(outcome)
            return
        then(Told(outcome, version.revision))
        if self.served.mirror and self.candidate is not None and version is self.stable:
            asyncio.get_running_loop().call_soon(self._copy, asked, outcome)  # the client's answer leaves first

    def _counted(
        self, version: Version, asked: Asked, then: Callable[[Answer | Exception], None], until: float | None = None
    ) -> None:
        """Ask a version, and count what comes of it."""
        question = _Question(self, version, then, self._now(), until)
        self._open[question] = None
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_LOOK_S, self._give_up)
        question.asking = version.ask(asked, question.answered)

    def count(self, question: _Question, version: Version, outcome: Answer | Exception) -> None:
        """A question has ended."""
        del self._open[question]
        if isinstance(outcome, Answer):
            version.tally.answered(self._now() - question.began)
            version.tally.looked_at(outcome.arrays)
        elif isinstance(outcome, TooManyRequests):
            self.rejected += 1
        elif question.is_hurried and isinstance(outcome, TimeoutError):
            version.tally.given_up(self._now() - question.began)
        else:
            version.tally.failed(self._now() - question.began)

    def _give_up(self) -> None:
        """End all questions whose time is over. One timer for all of them: most are answered in time."""
        now = self._now()
        for question in [each for each in self._open if each.until <= now]:
            question.given_up()
        self._look = asyncio.get_running_loop().call_later(_LOOK_S, self._give_up) if self._open else None

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
        if self._copies >= _MOST_COPIES:
            self.copies_dropped += 1
            return
        self._copies += 1
        self._counted(candidate, asked, partial(self._compare, candidate, asked, answer))

    def _compare(self, candidate: Version, asked: Asked, answer: Answer, other: Answer | Exception) -> None:
        self._copies -= 1
        if isinstance(other, Exception):
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
            "refused": dict(self.refused),
            "tripped": {str(number): reason for number, reason in self.tripped.items()},
            "revisions": {
                str(number): {**version.tally.document(), **_standing(version)}
                for number, version in self.versions.items()
            },
        }


def _standing(version: Version) -> dict[str, Any]:
    return {
        "loaded": version.loaded,
        "problem": version.problem,
        "under_way": version.under_way,
        "replicas": version.replicas,
        "memory_bytes": version.grown if version.loaded else 0,
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
