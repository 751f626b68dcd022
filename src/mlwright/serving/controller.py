"""Brings what endpoints are asked to serve to the host of this machine, and follows rollouts, in a thread of its own.

Level-triggered: each round compares what the database wants with what is prepared and what the host says, and does
what is missing; killed anywhere, the next round goes on. Whatever takes time (files, environments, loading) happens in
other threads, so that a rollback never waits for it.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from mlwright import __version__
from mlwright.kernel import events, store
from mlwright.kernel.database import Database
from mlwright.kernel.errors import MlwrightError, Unavailable
from mlwright.kernel.resources import Resource
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import gates, versions
from mlwright.registry.spec import TOLD
from mlwright.serving import observing
from mlwright.serving.host.state import Desired, Revision, Served
from mlwright.serving.observing import Document, Seen
from mlwright.serving.ports import Host
from mlwright.serving.preparing import Preparer
from mlwright.serving.service import deploying, desired, minutes, rollouts, rows, status
from mlwright.serving.service.desired import Place, Wanted
from mlwright.serving.service.endpoints import SYSTEM, TOPIC
from mlwright.serving.service.status import Problem
from mlwright.serving.spec import EndpointRevision, RevisionState, RolloutRecord, Strategy

_log = logging.getLogger(__name__)

#: Without a notice it looks again after so long: another server may have changed something.
_LOOK_AGAIN_S = 3.0
#: No event has this number.
_UNREAD = -1
#: What needs no event to become otherwise is read again after so long.
_READ_AGAIN_S = 60.0
#: While a rollout goes on: guards of the host are noticed so soon.
_ROLLOUT_S = 0.25
#: A revision that could not be prepared because something was away is tried again after so long.
_TRY_AGAIN_S = 5.0
#: Rounds in so long, at most.
_BURST, _BURST_S = 20, 0.2
#: A host that has not taken what it is to serve is told again after so long.
_PUSH_AGAIN_S = 0.2
_MINUTE_MS = 60_000
_PREPARERS = 2
_PUSHERS = 4


class _Looking(NamedTuple):
    """The last look at a rollout. `due_ms`: of the next one."""

    seen: Seen
    bound: int
    due_ms: int


class _Read(NamedTuple):
    """What was asked for when it was read.

    Attributes:
        head: the newest event before it was read.
        at_s: when, in seconds that never go back.
        generation: of what was read.
        problems: why something cannot be served, by the endpoint's row.
    """

    head: int
    at_s: float
    generation: int
    every: list[Wanted]
    problems: dict[int, Problem]


class _Told(NamedTuple):
    """What the status of an endpoint was made of, beside what is in the database."""

    problem: Problem | None
    served: int


class ServingController:
    """Args:
    database: where endpoints stand.
    preparer: makes revisions ready on this machine.
    host: serves them.
    place: where the host is.
    """

    def __init__(self, database: Database, preparer: Preparer, host: Host, place: Place) -> None:
        self._database = database
        self._preparer = preparer
        self._host = host
        self._place = place
        self._read = _Read(_UNREAD, 0.0, 0, [], {})
        self._prepared: dict[int, Revision] = {}
        self._preparing: dict[int, Future[None]] = {}
        self._not_before: dict[int, float] = {}
        self._pushing: set[Future[None]] = set()
        self._pushed: list[Served] | None = None
        self._last: dict[str, Served] = {}
        self._document: Document | None = None
        self._looking: dict[int, _Looking] = {}
        self._told: dict[int, _Told] = {}
        self._minute: tuple[int, Document] | None = None
        self._host_problem = ""
        self._turns: deque[float] = deque(maxlen=_BURST)
        self._heard = threading.Event()
        self._stopped = threading.Event()
        self._preparers = ThreadPoolExecutor(_PREPARERS, thread_name_prefix="mlwright-prepare")
        self._pushers = ThreadPoolExecutor(_PUSHERS, thread_name_prefix="mlwright-push")
        self._thread = threading.Thread(target=self._run, name="mlwright-serving", daemon=True)

    def start(self) -> None:
        """From now on, serve what endpoints ask for. A host that an earlier control plane started is found again."""
        self._last = self._host.last() if self._host.is_running else {}
        self._thread.start()

    def _renew(self) -> None:
        """A host of another release, which an earlier control plane has left, makes room for one of this."""
        if self._host.is_running:
            with contextlib.suppress(Unavailable):
                if self._host.counts().get("release") != __version__:
                    self._host.replace()

    def close(self) -> None:
        """Stop changing anything, and end the host once it has answered what it was asked."""
        self._stopped.set()
        self._heard.set()
        if self._thread.is_alive():
            self._thread.join()
            self._count_last_minute()
            self._host.stop()
        self._preparers.shutdown(wait=False, cancel_futures=True)
        self._pushers.shutdown(wait=False, cancel_futures=True)
        self._preparer.close()

    def _run(self) -> None:
        self._renew()
        changes = self._database.changes
        with contextlib.ExitStack() as listening:
            for topic in (TOPIC, store.TOPIC, TOLD, gates.TOPIC):
                listening.enter_context(changes.listening(topic, self._heard.set))
            self._heard.set()
            while True:
                self._await_turn()
                heard = self._heard.is_set()
                if heard:  # what comes from here on is heard by the next round
                    self._heard.clear()
                if self._stopped.is_set():
                    return
                self._heard.wait(self._tried(heard=heard))

    def _await_turn(self) -> None:
        """Where thousands of notices come in a second, one round is for many; the first few are heard at once."""
        now_s = time.monotonic()
        if len(self._turns) == _BURST and now_s - self._turns[0] < _BURST_S:
            self._stopped.wait(self._turns[0] + _BURST_S - now_s)
        self._turns.append(time.monotonic())

    def _tried(self, *, heard: bool) -> float:
        """One round; how long to wait for the next one without a notice, in seconds."""
        try:
            return self._round(heard=heard)
        except MlwrightError as error:  # the database is away for a while
            _log.warning("serving: %s", error.message)
        except Exception:  # the boundary of the thread: one defect must not end all serving
            _log.exception("serving: a round failed")
        self._read = self._read._replace(head=_UNREAD)  # what it had heard of is not done
        return _LOOK_AGAIN_S

    def _round(self, *, heard: bool = True) -> float:
        self._look_up(heard=heard)
        every = self._read.every
        if not every and self._pushed is None and not self._host.is_running:
            return _LOOK_AGAIN_S
        self._prepare(every)
        self._push(self._read.generation, every)
        going_on = self._follow(every)
        self._count_minutes(every)
        self._tell(every)
        return _ROLLOUT_S if going_on else _LOOK_AGAIN_S

    # --- what is asked for -----------------------------------------------------------------------------------------

    def _look_up(self, *, heard: bool) -> None:
        """Read all that is asked for, if something may have changed: hundreds of endpoints take a tenth of a second.

        Of what other servers change there is an event, but no notice.
        """
        now_s, before = time.monotonic(), self._read
        age_s = now_s - before.at_s
        if not heard and age_s < _LOOK_AGAIN_S:
            return
        head = self._database.read_now(events.head)
        if not heard and head == before.head and age_s < _READ_AGAIN_S:
            return
        problems = self._consider()
        generation, every = self._database.read_now(desired.wanted)
        self._read = _Read(head, now_s, generation, every, problems)
        self._told = {}

    def _consider(self) -> dict[int, Problem]:
        """Make revisions of what endpoints are asked to serve; why not, by the endpoint's row."""
        problems: dict[int, Problem] = {}
        for row, resource, refused in self._database.read_now(deploying.unconsidered):
            error = refused or self._considered(resource)
            if error is not None:
                problems[row] = Problem(deploying.refusal(error), error.message)
        return problems

    def _considered(self, resource: Resource) -> MlwrightError | None:
        try:
            self._database.write_now(partial(deploying.consider, resource=resource))
        except Unavailable:
            raise
        except MlwrightError as error:
            return error
        return None

    # --- files and environments ------------------------------------------------------------------------------------

    def _prepare(self, every: list[Wanted]) -> None:
        self._preparing = {row: future for row, future in self._preparing.items() if not future.done()}
        needed = [(each, revision) for each in every for revision in each.revisions]
        for each, revision in needed:
            waits = self._not_before.get(revision.row, 0.0) > time.monotonic()
            if revision.row not in self._prepared and revision.row not in self._preparing and not waits:
                future = self._preparers.submit(self._prepare_one, each, revision)
                self._preparing[revision.row] = future
        rows_needed = {revision.row for _, revision in needed}
        if self._prepared.keys() - rows_needed and not self._preparing:
            self._prepared = {row: found for row, found in self._prepared.items() if row in rows_needed}
            self._preparer.keep_only(list(self._prepared.values()))

    def _prepare_one(self, each: Wanted, revision: EndpointRevision) -> None:
        endpoint, number = each.serving.row, revision.number
        try:
            version = self._database.read_now(
                lambda tx: versions.get(tx, SYSTEM, revision.model, revision.version, each.serving.project)
            )
            self._prepared[revision.row] = self._preparer.prepare(version, number, onnx=revision.onnx)
            plan = each.spec.rollout if each.spec is not None else None
            if revision.state is RevisionState.PREPARING and plan is not None:
                self._database.write_now(lambda tx: rollouts.ready(tx, endpoint, number, plan))
        except Unavailable as error:
            _log.warning("serving: %s waits: %s", each.serving.name, error.message)
            self._not_before[revision.row] = time.monotonic() + _TRY_AGAIN_S
        except MlwrightError as error:
            reason = f"{error.message} ({error.hint})" if error.hint else error.message
            self._give_up(endpoint, revision, reason)
        except Exception:  # the boundary of a preparation: the endpoint says that it failed
            _log.exception("serving: %s/%s could not be prepared", each.serving.name, number)
            self._give_up(endpoint, revision, "an internal error occurred; it has been logged")
        self._heard.set()

    def _give_up(self, endpoint: int, revision: EndpointRevision, reason: str) -> None:
        """What failed once fails for good, but for what serves already: that is tried again."""
        if revision.state is RevisionState.PREPARING:
            self._database.write_now(lambda tx: rollouts.failed(tx, endpoint, revision.number, reason))
        else:
            _log.warning("serving: revision %s cannot be prepared here: %s", revision.number, reason)
            self._not_before[revision.row] = time.monotonic() + _TRY_AGAIN_S

    # --- the host --------------------------------------------------------------------------------------------------

    def _push(self, generation: int, every: list[Wanted]) -> None:
        """Tell the host what to serve, if that is something else than before."""
        self._pushing = {each for each in self._pushing if not each.done()}
        wanted = desired.desired(generation, every, self._prepared, self._last, self._place)
        if not self._host.is_running:
            if not wanted.endpoints:
                return
            self._start_host()
        if wanted.endpoints != self._pushed and not self._host_problem:
            self._pushed = wanted.endpoints
            self._last = {each.name: each for each in wanted.endpoints}
            self._pushing.add(self._pushers.submit(self._push_one, wanted))

    def _start_host(self) -> None:
        try:
            self._host.start()
            self._host_problem = ""
        except Unavailable as error:
            self._host_problem = f"{error.message} ({error.hint})" if error.hint else error.message
            _log.warning("serving: %s", error.message)
        self._pushed = None

    def _push_one(self, wanted: Desired) -> None:
        try:
            self._document = self._host.serve(wanted)
        except Unavailable as error:
            _log.warning("serving: %s", error.message)
            self._stopped.wait(_PUSH_AGAIN_S)
            self._pushed = None
        self._heard.set()

    # --- rollouts --------------------------------------------------------------------------------------------------

    def _follow(self, every: list[Wanted]) -> bool:
        """Look at the rollouts that go on. Returns whether there are any."""
        going_on = self._database.read_now(rows.going_on)
        found = [(each, going_on[each.serving.row]) for each in every if each.serving.row in going_on]
        rollouts_here = {each.row for _, each in found}
        self._looking = {row: kept for row, kept in self._looking.items() if row in rollouts_here}
        if not found:
            return False
        with contextlib.suppress(Unavailable):
            self._document = self._host.counts()
        if self._document is not None:
            for each, rollout in found:
                self._follow_one(self._document, each, rollout)
        return True

    def _follow_one(self, document: Document, each: Wanted, rollout: RolloutRecord) -> None:
        serving = each.serving
        seen = observing.seen(document, serving.name)
        if seen is None or serving.traffic.candidate != rollout.number:
            return
        failure = document["failures"].get(f"{serving.project}/{serving.name}/{rollout.number}")
        candidate = seen.revisions.get(rollout.number)
        if failure is not None:
            self._write(rollout, lambda tx, now, current: rollouts.not_loaded(tx, now, current, failure))
        elif rollout.plan.strategy is Strategy.BLUE_GREEN:
            if candidate is not None and candidate["loaded"]:
                self._write(rollout, rollouts.loaded)
        else:
            self._look(document, seen, each, rollout)

    def _look(self, document: Document, seen: Seen, each: Wanted, rollout: RolloutRecord) -> None:
        now_ms = self._database.clock.now_ms()
        stable = seen.revisions.get(rollout.stable)
        before = self._looking.get(rollout.row)
        tripped = _tripped(document, each.serving.name, rollout.number)
        if stable is None or (before is not None and now_ms < before.due_ms and not tripped):
            return
        bound = observing.slow_bound(stable, rollout.plan.objective)
        due_ms = now_ms + int(rollout.plan.look_seconds * 1_000)
        self._looking[rollout.row] = _Looking(seen, bound, due_ms)
        if before is None and not tripped:
            return
        found = observing.look(
            before.seen if before is not None else Seen("", {}),
            seen,
            numbers=(rollout.number, rollout.stable),
            step=rollout.step,
            bound=before.bound if before is not None else bound,
            at_ms=now_ms,
            tripped=tripped,
        )
        self._write(rollout, lambda tx, now, current: rollouts.looked(tx, now, current, found))
        if rollout.plan.strategy is Strategy.BANDIT:
            self._write(rollout, rollouts.divide)

    def _write(self, rollout: RolloutRecord, work: Callable[[Tx, rows.Serving, RolloutRecord], object]) -> None:
        """Do something with a rollout as it is now, unless it is over: another one may have begun meanwhile."""

        def with_serving(tx: Tx) -> None:
            serving = rows.of_rollout(tx, rollout.row)
            current = rows.current_rollout(tx, serving.row) if serving is not None else None
            if serving is not None and current is not None and current.row == rollout.row:
                work(tx, serving, current)

        self._database.write_now(with_serving)

    # --- what others see -------------------------------------------------------------------------------------------

    def _count_last_minute(self) -> None:
        """What was asked since the minute began would be lost with the host."""
        if self._minute is not None:
            try:
                self._count(self._read.every, self._minute[0])
            except MlwrightError as error:
                _log.warning("serving: the last minute is not counted: %s", error.message)

    def _count_minutes(self, every: list[Wanted]) -> None:
        minute = self._database.clock.now_ms() // _MINUTE_MS
        if self._minute is None or self._minute[0] != minute:
            self._count(every, minute)

    def _count(self, every: list[Wanted], minute: int) -> None:
        """Add what was asked since the last time to the minute in which it began. `minute`: the one that begins."""
        try:
            document = self._host.counts()
        except Unavailable:
            return
        before, self._minute = self._minute, (minute, document)
        if before is not None:
            found = [
                (
                    each.serving.row,
                    number,
                    observing.difference(observing.seen(before[1], each.serving.name), seen, number),
                )
                for each in every
                if (seen := observing.seen(document, each.serving.name)) is not None
                for number in seen.revisions
            ]
            self._database.write_now(lambda tx: minutes.add(tx, before[0] * _MINUTE_MS, found))

    def _tell(self, every: list[Wanted]) -> None:
        """Write into the status of each endpoint what is so now, where that has changed."""
        failures = self._document["failures"] if self._document is not None else {}
        host = Problem("HostDown", self._host_problem) if self._host_problem else None
        serves = _serves(self._document, failures)
        for each in every:
            row = each.serving.row
            found = self._read.problems.get(row) or host
            name = f"{each.serving.project}/{each.serving.name}/{each.serving.traffic.stable}"
            if found is None and name in failures:
                found = Problem("CannotBeLoaded", failures[name])
            served = serves.get(each.serving.name, 0)
            told = _Told(found, served)
            if self._told.get(row) == told:
                continue
            change = self._database.read_now(
                partial(status.change, endpoint=each.serving, problem=found, served=served)
            )
            if change is not None:
                self._database.write_now(partial(status.write, endpoint=each.serving, status=change))
            self._told[row] = told


def _serves(document: Document | None, failures: Mapping[str, str]) -> dict[str, int]:
    """The revision that answers requests, as the host says, by endpoint."""
    return {
        each["name"]: int(each["stable"])
        for each in (document["endpoints"] if document is not None else ())
        if f"{each['project']}/{each['name']}/{each['stable']}" not in failures
    }


def _tripped(document: Document, endpoint: str, number: int) -> str:
    """Why the host gives a candidate no more requests; empty when it does."""
    for each in document["endpoints"]:
        if each["name"] == endpoint:
            return str(each["tripped"].get(str(number), ""))
    return ""
