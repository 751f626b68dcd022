"""A version in a host: loaded into one or more processes of its environment, asked, counted, replaced when it dies."""

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mlwright.kernel.errors import MlwrightError, Unavailable
from mlwright.serving.host import plain
from mlwright.serving.host.answering import Answer
from mlwright.serving.host.batching import Asking, Batcher, TooManyRequests
from mlwright.serving.host.counts import Tally
from mlwright.serving.host.state import Revision
from mlwright.serving.host.takes import Takes, takes_of
from mlwright.serving.host.tensors import TEXT, Asked
from mlwright.serving.host.workers import Worker, WorkerDied

_log = logging.getLogger(__name__)

#: A request in which a process dies is given to another one, where it is alone; if that dies too, it was the request.
_DEATHS = 2
#: A request that only waited is not to blame, but does not wait for ever.
_ATTEMPTS = 10
_LOOK_AGAIN_S = 0.1
#: What could not be loaded is not tried again by the next request, but after so long, and then twice as long.
_TRY_AGAIN_S, _MOST_TRY_AGAIN_S = 1.0, 30.0


class Places(Protocol):
    """Processes of environments."""

    async def loaded(self, version: "Version", number: int, request: dict[str, Any], example: bytes) -> Worker:
        """The process of that number in the version's environment, which has loaded it. Raises Unavailable."""
        ...


class _Failure(NamedTuple):
    error: MlwrightError
    pause_s: float
    until_s: float


class Version:
    """One revision of one endpoint.

    Args:
        name: unique in the host.
        queue: requests that may wait.

    Attributes:
        takes: its inputs.
        tally: its counts.
        replicas: processes that are to run it; 0 while it rests until it is asked.
        most_memory: bytes that it may take.
        grown: bytes that it took when it was last loaded.
        loads: how often it was loaded.
    """

    def __init__(self, name: str, revision: Revision, places: Places, queue: int) -> None:
        self.name = name
        self.revision = revision
        self.takes: Takes = takes_of(revision.signature)
        self.tally = Tally()
        self.replicas = 1
        self.most_memory = 0
        self.grown = self.loads = 0
        self._places = places
        self._queue = queue
        self._failure: _Failure | None = None
        self._batchers: dict[int, Batcher] = {}
        self._retiring: dict[int, Batcher] = {}
        self._loading: dict[int, asyncio.Task[Batcher]] = {}
        self._waiting: set[asyncio.Task[None]] = set()
        self._closed = False

    def limit(self, queue: int, memory: int) -> None:
        """So many requests may wait, and so many bytes it may take when it is loaded the next time."""
        self.most_memory = memory
        self._queue = queue
        for batcher in self._batchers.values():
            batcher.most = queue

    @property
    def under_way(self) -> int:
        """Requests that wait or are being answered."""
        found = len(self._waiting)
        for batchers in (self._batchers, self._retiring):
            for batcher in batchers.values():
                found += batcher.under_way
        return found

    @property
    def is_loading(self) -> bool:
        """Whether a process is about to have it."""
        return bool(self._loading)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing would be lost if it were unloaded now."""
        return not self._loading and not self.under_way

    @property
    def problem(self) -> str:
        """Why it could not be loaded; empty when it could, or was not tried."""
        return self._failure.error.message if self._failure is not None else ""

    @property
    def is_ready(self) -> bool:
        """Whether it answers, if need be after it has been loaded."""
        return self.loaded or (self._failure is None and self.replicas == 0)

    @property
    def loaded(self) -> bool:
        """Whether it can answer at once."""
        return any(batcher.worker.alive for batcher in self._batchers.values())

    async def load(self) -> None:
        """Load it into all of its processes, whatever happened before. Raises Unavailable with what it says."""
        self._failure = None
        self.replicas = max(self.replicas, 1)
        await asyncio.gather(*(self._batcher(number) for number in range(self.replicas)))

    def scale(self, processes: int) -> None:
        """Run in so many processes from now on; none: until it is asked."""
        self.replicas = processes
        for number in [each for each in self._batchers if each >= processes]:
            self._retire(number)
        for number in range(processes):
            if number not in self._batchers and number not in self._loading and not self._pauses():
                self._begin_loading(number)

    def _pauses(self) -> bool:
        return self._failure is not None and asyncio.get_running_loop().time() < self._failure.until_s

    def ask(self, asked: Asked, then: Callable[[Answer | Exception], None]) -> Asking:
        """Ask it. `then` gets an answer, or ModelFailed, Unavailable, or WorkerDied when it takes processes with it."""
        asking = Asking(asked, then, self._died)
        self._queued(asking)
        return asking

    def _queued(self, asking: Asking) -> None:
        batcher = self._least_busy()
        if batcher is not None:
            batcher.ask(asking)
            return
        if len(self._waiting) >= self._queue:
            asking.end(TooManyRequests("too many requests wait for this model"))
            return
        self.replicas = max(self.replicas, 1)
        task = asyncio.create_task(self._queued_when_loaded(asking))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _queued_when_loaded(self, asking: Asking) -> None:
        try:
            batcher = await self._batcher(0)
        except Exception as error:  # whatever it is, it is an answer to whoever asked
            asking.end(error)
        else:
            batcher.ask(asking)

    def _died(self, asking: Asking, error: WorkerDied) -> None:
        """A request that has lost its process goes to another one: alone, if it was in it."""
        asking.deaths += error.while_answering
        asking.attempts += 1
        asking.alone = asking.deaths > 0
        if asking.deaths == _DEATHS or self._closed:
            asking.end(error)
        elif asking.attempts == _ATTEMPTS:
            asking.end(Unavailable("the model's processes end as fast as they are started"))
        elif asking.then is not None:
            self._queued(asking)

    def _least_busy(self) -> Batcher | None:
        alive = [batcher for batcher in self._batchers.values() if batcher.worker.alive]
        if len(alive) > 1:
            return min(alive, key=lambda batcher: batcher.under_way)
        return alive[0] if alive else None

    async def _batcher(self, number: int) -> Batcher:
        """The queue before the process of that number; whoever comes during a load waits for the same one."""
        known = self._batchers.get(number)
        if known is not None and known.worker.alive:
            return known
        if known is not None:
            known.abandon()
            del self._batchers[number]
        retiring = self._retiring.pop(number, None)
        if retiring is not None and retiring.worker.alive:
            self._batchers[number] = retiring
            return retiring
        loading = self._loading.get(number)
        if loading is None:
            if self._failure is not None and self._pauses():
                raise _repeated(self._failure, asyncio.get_running_loop().time())
            loading = self._begin_loading(number)
        return await asyncio.shield(loading)

    def _begin_loading(self, number: int) -> "asyncio.Task[Batcher]":
        loading = self._loading[number] = asyncio.create_task(self._loaded(number))
        loading.add_done_callback(partial(self._ended_loading, number))
        return loading

    def _ended_loading(self, number: int, task: "asyncio.Task[Batcher]") -> None:
        self._loading.pop(number, None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, MlwrightError):
            if isinstance(error, WorkerDied):
                self.tally.deaths += 1
            pause_s = min(self._failure.pause_s * 2, _MOST_TRY_AGAIN_S) if self._failure else _TRY_AGAIN_S
            self._failure = _Failure(error, pause_s, asyncio.get_running_loop().time() + pause_s)
        elif error is None:
            self._failure = None
            if number >= self.replicas:
                self._retire(number)

    async def _loaded(self, number: int) -> Batcher:
        try:
            return await self._loaded_into(number)
        except MlwrightError:
            raise
        except Exception as error:  # the boundary of a version: its defect must not keep others from being served
            _log.exception("%s cannot be loaded", self.name)
            raise Unavailable("an internal error occurred while it was loaded; it has been logged") from error

    async def _loaded_into(self, number: int) -> Batcher:
        request, example = self._request()
        try:
            worker = await self._places.loaded(self, number, request, example)
        except WorkerDied:  # it may have been a neighbour's doing; the second time it was not
            worker = await self._places.loaded(self, number, request, example)
        self.grown = worker.models.get(self.name, 0)
        self.loads += 1
        batcher = self._batchers[number] = Batcher(worker, self.name, self._queue, self.tally)
        return batcher

    def _request(self) -> tuple[dict[str, Any], bytes]:
        """What a process needs to know, and the bytes of the example that it is asked first."""
        revision = self.revision
        request: dict[str, Any] = {
            "folder": revision.folder,
            "loader": revision.loader,
            "options": revision.options,
            "generic": revision.generic,
            "columns": {each.name: each.kind for each in self.takes.inputs} if self.takes.table else {},
            "inputs": [],
            "table": False,
        }
        asked = self._example()
        if asked is None:
            return request, b""
        shape, data = asked.shape, []
        for place, name in enumerate(shape.names):
            described = {"name": name, "datatype": shape.datatypes[place], "shape": [asked.rows, *shape.rows[place]]}
            if shape.datatypes[place] == TEXT:
                described["data"] = asked.arrays[place]
            else:
                data.append(asked.arrays[place])
            request["inputs"].append(described)
        request["table"] = bool(shape.table)
        return request, b"".join(data)  # type: ignore[arg-type]

    def _example(self) -> Asked | None:
        """The input example in the words of the signature; None where it has none, or it cannot be read."""
        if not self.revision.example:
            return None
        with suppress(OSError, MlwrightError):
            return plain.read_invocation(Path(self.revision.example).read_bytes(), {}, self.takes).asked
        return None

    def died(self, worker: Worker) -> None:
        """A process has ended; count it if this version was being answered by it."""
        for batchers in (self._batchers, self._retiring):
            for number, batcher in list(batchers.items()):
                if batcher.worker is worker:
                    del batchers[number]
                    self.tally.deaths += batcher.to_blame
                    batcher.abandon()

    def drop(self) -> None:
        """Take it out of its processes, once all that was asked is answered."""
        self._closed = True
        if self.under_way or self._loading:
            asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self.drop)
            return
        for number in list(self._batchers):
            self._retire(number)

    def _retire(self, number: int) -> None:
        """Ask nothing more of a process, and leave it once it has answered."""
        batcher = self._retiring[number] = self._batchers.pop(number)
        self._leave(number, batcher)

    def _leave(self, number: int, batcher: Batcher) -> None:
        if self._retiring.get(number) is not batcher:  # it is asked again, or its process has ended
            return
        if batcher.under_way:
            asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self._leave, number, batcher)
            return
        del self._retiring[number]
        if batcher.worker.alive:
            batcher.worker.drop(self.name)


def _repeated(failure: _Failure, now_s: float) -> MlwrightError:
    error = Unavailable(failure.error.message)
    error.retry_after_s = max(math.ceil(failure.until_s - now_s), 1)
    return error
