"""Who has how many processes and whose memory: looks after all versions of a host, a few times a second.

Scales versions by their load, lets those rest that nobody asks, loads again what has died, unloads what was not used
for longest when memory is short, and ends processes that hang or take more than they may.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mlwright.serving.host.endpoints import Endpoint
from mlwright.serving.host.places import WorkerPlaces
from mlwright.serving.host.scaling import STEADY_S, Load, plan
from mlwright.serving.host.versions import Version
from mlwright.serving.host.workers import Worker
from mlwright.serving.spec import Scaling

_log = logging.getLogger(__name__)

TICK_S = 0.25
#: Ticks between two plans.
_TICKS = 4
#: A process without models is kept for so long: starting one takes most of the time that waking a model takes.
_EMPTY_S = 300.0
#: A model that answers so much later than its endpoint's limit hangs.
_HANGS_S = 2.0
#: The same while a neighbour is loaded: libraries that are imported hold up answers.
_LOADS_S = 30.0
_COMPLAIN_S = 60.0


class _History:
    """What was seen of a version."""

    __slots__ = ("loads", "samples", "seen", "used_s")

    def __init__(self, now_s: float) -> None:
        self.loads: deque[Load] = deque()
        self.samples: list[int] = []
        self.seen = -1
        self.used_s = now_s


class _Placed(NamedTuple):
    endpoint: Endpoint
    version: Version
    history: _History


class Capacity:
    """Args:
    endpoints: gives all there are.
    places: their processes.
    now: seconds that never go back.

    Attributes:
        most_memory: bytes that all processes together may take; 0 is any number.
        evictions: models that were unloaded because memory was short.
        replaced: processes that were ended, by the version that they were answering for.
    """

    def __init__(self, endpoints: Callable[[], list[Endpoint]], places: WorkerPlaces, now: Callable[[], float]) -> None:
        self.most_memory = 0
        self.evictions = 0
        self.replaced: dict[str, int] = defaultdict(int)
        self._endpoints = endpoints
        self._places = places
        self._now = now
        self._histories: dict[Version, _History] = {}
        self._empty_since: dict[Worker, float] = {}
        self._complained_s = -_COMPLAIN_S
        places.make_room = self.make_room

    async def run(self) -> None:
        """Until cancelled."""
        tick = 0
        while True:
            await asyncio.sleep(TICK_S)
            tick += 1
            try:
                self.look(tick)
            except Exception:  # the boundary of the loop: one defect must not end all care
                _log.exception("looking after the models failed")

    def look(self, tick: int) -> None:
        """One look. Cheap: some 20 µs per process and 1 µs per version that is loaded."""
        self._watch_processes()
        for placed in self._placed():
            if placed.endpoint.served.scaling.max > 1 and placed.version.loaded:
                placed.history.samples.append(placed.version.under_way)
        if tick % _TICKS == 0:
            for placed in list(self._placed()):
                self._plan(placed)
            self._forget()
            self._keep_below(self.most_memory, None)
            self._end_empty_ones(_EMPTY_S)

    def _placed(self) -> Iterator[_Placed]:
        for endpoint in self._endpoints():
            for version in endpoint.versions.values():
                history = self._histories.get(version)
                if history is None:
                    history = self._histories[version] = _History(self._now())
                yield _Placed(endpoint, version, history)

    def _forget(self) -> None:
        here = {placed.version for placed in self._placed()}
        self._histories = {version: history for version, history in self._histories.items() if version in here}

    # --- scaling -----------------------------------------------------------------------------------------------

    def _plan(self, placed: _Placed) -> None:
        endpoint, version, history = placed
        now_s, scaling = self._now(), endpoint.served.scaling
        if version.under_way or version.tally.requests != history.seen:
            history.seen, history.used_s = version.tally.requests, now_s
        samples, history.samples = history.samples, []
        if not version.loaded:
            if version.replicas and endpoint.has_traffic(version) and not version.is_loading:
                version.scale(version.replicas)  # its process has ended
            return
        if not history.loads and version.replicas > 1:  # it has as many as the one that it takes over from
            history.loads.append(Load(now_s, float(version.replicas * scaling.concurrency)))
        history.loads.append(Load(now_s, sum(samples) / max(len(samples), 1)))
        while history.loads[0].at_s <= now_s - STEADY_S:
            history.loads.popleft()
        wanted = plan(_scaling(placed), history.loads, now_s=now_s, idle_s=now_s - history.used_s)
        if wanted == 0 and not version.is_quiet:
            return
        if wanted != version.replicas:
            _log.info("%s: %d instead of %d processes", version.name, wanted, version.replicas)
            version.scale(wanted)

    # --- processes ---------------------------------------------------------------------------------------------

    def _watch_processes(self) -> None:
        now_s = asyncio.get_running_loop().time()
        limits_s: dict[str, float] = {}
        for key, worker in self._places.living.items():
            if worker.memory > worker.most_memory > 0 and not worker.is_empty:
                taken, most = worker.memory >> 20, worker.most_memory >> 20
                why = f"the model's process took {taken} MiB of memory for this request, and may take {most}"
                self._replace(key, worker, why)
            elif worker.answering:
                limits_s = limits_s or {
                    placed.version.name: placed.endpoint.served.limits.timeout_ms / 1_000 for placed in self._placed()
                }
                patience_s = _LOADS_S if worker.is_loading else _HANGS_S
                if now_s - worker.heard_s > limits_s.get(worker.answering, 0.0) + patience_s:
                    self._replace(key, worker, "the model hangs")

    def _replace(self, key: tuple[str, int], worker: Worker, why: str) -> None:
        name = worker.answering
        _log.warning("the process %d is replaced: %s; it was answering for %r", worker.process.pid, why, name)
        self.replaced[name] += 1
        self._places.end(key, why)

    def _end_empty_ones(self, after_s: float) -> None:
        now_s = self._now()
        living = self._places.living
        self._empty_since = {
            worker: self._empty_since.get(worker, now_s) for worker in living.values() if worker.is_empty
        }
        for key, worker in living.items():
            if now_s - self._empty_since.get(worker, now_s) >= after_s and worker.is_empty:
                self._places.end(key)

    # --- memory ------------------------------------------------------------------------------------------------

    @property
    def memory(self) -> int:
        """Bytes that all processes take."""
        return sum(worker.memory for worker in self._places.living.values())

    def make_room(self, version: Version) -> None:
        """Unload others until a version fits in, by what it took the last time."""
        self._keep_below(self.most_memory - version.grown, version)

    @property
    def is_full(self) -> bool:
        """Whether another model may only be loaded where one is unloaded."""
        return 0 < self.most_memory <= self.memory

    def _keep_below(self, most: int, but: Version | None) -> None:
        if not self.most_memory:
            return
        taken = self.memory
        if taken <= most:
            return
        self._end_empty_ones(0.0)
        taken = self.memory
        for placed in sorted(self._unloadable(but), key=_worth):
            if taken <= most:
                return
            taken -= max(placed.version.grown, 1)
            _log.info("%s is unloaded, because memory is short", placed.version.name)
            self.evictions += 1
            placed.version.scale(0)
        if taken > most and self._now() - self._complained_s >= _COMPLAIN_S:
            self._complained_s = self._now()
            _log.warning("the models that are in use take %d MiB, and may take %d", taken >> 20, most >> 20)

    def _unloadable(self, but: Version | None) -> list[_Placed]:
        every = (each for each in self._placed() if each.version is not but)
        return [each for each in every if each.version.loaded and each.version.is_quiet]


def _worth(placed: _Placed) -> tuple[int, float]:
    """First goes what gets no requests, then what may rest, then all others: of each what was not used for longest."""
    endpoint, version, history = placed
    rank = 0 if not endpoint.has_traffic(version) else 1 if endpoint.served.scaling.min == 0 else 2
    return rank, history.used_s


def _scaling(placed: _Placed) -> Scaling:
    """A version without requests needs one process, and rests when its endpoint does."""
    endpoint, version, _ = placed
    found = endpoint.served.scaling
    if endpoint.has_traffic(version):
        return found
    return Scaling(min(found.min, 1), 1, found.concurrency, found.idle_seconds)
