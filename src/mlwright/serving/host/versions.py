"""A version in a host: loaded into one or more processes of its environment, asked, counted, replaced when it dies."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from mlwright.kernel.errors import MlwrightError, Unavailable
from mlwright.serving.host import plain
from mlwright.serving.host.answering import Answer
from mlwright.serving.host.batching import Asking, Batcher
from mlwright.serving.host.counts import Tally
from mlwright.serving.host.state import Revision
from mlwright.serving.host.takes import Takes, takes_of
from mlwright.serving.host.tensors import TEXT, Asked
from mlwright.serving.host.workers import Worker, WorkerDied

#: A request in which a process dies is given to another one, where it is alone; if that dies too, it was the request.
_DEATHS = 2
#: A request that only waited is not to blame, but does not wait for ever.
_ATTEMPTS = 10
_LOOK_AGAIN_S = 0.1


class Places(Protocol):
    """Processes of environments."""

    async def place(self, python: str, number: int) -> Worker:
        """The living process of that number in an environment, started if need be. Raises Unavailable."""
        ...


class Version:
    """One revision of one endpoint.

    Args:
        name: unique in the host.
        queue: requests that may wait.

    Attributes:
        takes: its inputs.
        tally: its counts.
        replicas: processes that are to run it.
    """

    def __init__(self, name: str, revision: Revision, places: Places, queue: int) -> None:
        self.name = name
        self.revision = revision
        self.takes: Takes = takes_of(revision.signature)
        self.tally = Tally()
        self.replicas = 1
        self.idle_since = asyncio.get_running_loop().time()
        self._places = places
        self._queue = queue
        self._batchers: dict[int, Batcher] = {}
        self._loading: dict[int, asyncio.Task[Batcher]] = {}
        self._waiting: set[asyncio.Task[None]] = set()
        self._closed = self._rests = False

    @property
    def under_way(self) -> int:
        """Requests that wait or are being answered."""
        return sum(batcher.under_way for batcher in self._batchers.values())

    @property
    def loaded(self) -> bool:
        """Whether it can answer at once."""
        return any(batcher.worker.alive for batcher in self._batchers.values())

    async def load(self) -> None:
        """Load it into all of its processes. Raises Unavailable with what it says."""
        await asyncio.gather(*(self._batcher(number) for number in range(max(self.replicas, 1))))

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
        loading = self._loading.get(number)
        if loading is None:
            loading = self._loading[number] = asyncio.create_task(self._loaded(number))
            loading.add_done_callback(lambda _: self._loading.pop(number, None))
        return await asyncio.shield(loading)

    async def _loaded(self, number: int) -> Batcher:
        worker = await self._places.place(self.revision.python, number)
        request, example = self._request()
        await worker.load(self.name, request, example)
        batcher = self._batchers[number] = Batcher(worker, self.name, self._queue)
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
        """A process has ended; count it if this version was in it."""
        for number, batcher in list(self._batchers.items()):
            if batcher.worker is worker:
                self.tally.deaths += 1
                batcher.abandon()
                del self._batchers[number]

    @property
    def rests(self) -> bool:
        """Whether it was taken out of its processes, and comes back with the next request."""
        return self._rests and not self.loaded

    def rest(self) -> bool:
        """Take it out of its processes until the next request; not while there is one. Whether that was done."""
        if self.under_way or self._loading or self._waiting:
            return False
        for batcher in self._batchers.values():
            if batcher.worker.alive:
                batcher.worker.drop(self.name)
        self._batchers.clear()
        self._rests = True
        return True

    def drop(self) -> None:
        """Take it out of its processes, once all that was asked is answered."""
        self._closed = True
        if self.under_way or self._loading:
            asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self.drop)
            return
        for batcher in self._batchers.values():
            if batcher.worker.alive:
                batcher.worker.drop(self.name)
        self._batchers.clear()


class WorkerPlaces:
    """All processes of a host, by environment and number.

    Args:
        environment: variables that processes get.
        log: file descriptor that they write to.
        died: called when one has ended by itself.
    """

    def __init__(self, environment: Mapping[str, str], log: int) -> None:
        self._environment = environment
        self._log = log
        self._workers: dict[tuple[str, int], asyncio.Task[Worker]] = {}
        self._versions: set[Version] = set()
        self._closing = False

    def watch(self, version: Version) -> None:
        """Tell the version when a process ends."""
        self._versions.add(version)

    def forget(self, version: Version) -> None:
        """The opposite of `watch`."""
        self._versions.discard(version)

    async def place(self, python: str, number: int) -> Worker:
        key = (python, number)
        starting = self._workers.get(key)
        if starting is not None and starting.done() and (starting.exception() or not starting.result().alive):
            starting = None
        if starting is None:
            starting = self._workers[key] = asyncio.create_task(
                Worker.start(Path(python), self._ended, self._environment, self._log)
            )
        try:
            return await asyncio.shield(starting)
        except OSError as error:
            raise Unavailable(f"the model's process cannot be started: {error}") from error

    def _ended(self, worker: Worker) -> None:
        if not self._closing:
            for version in list(self._versions):
                version.died(worker)

    def close(self) -> None:
        """End all processes."""
        self._closing = True
        for starting in self._workers.values():
            if starting.done() and not starting.cancelled() and starting.exception() is None:
                starting.result().kill()
            else:
                starting.cancel()
        self._workers.clear()
