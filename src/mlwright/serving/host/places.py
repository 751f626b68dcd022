"""All model processes of a host: by environment and number."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlwright.kernel.errors import Unavailable
from mlwright.serving.host.versions import Version
from mlwright.serving.host.workers import Worker

#: Models that are loaded at a time: more only take longer, each of them.
_LOADS = 8


class WorkerPlaces:
    """All processes of a host, by environment and number.

    Args:
        environment: variables that processes get.
        log: file descriptor that they write to.

    Attributes:
        make_room: called before a version is loaded.
    """

    def __init__(self, environment: Mapping[str, str], log: int) -> None:
        self._environment = environment
        self._log = log
        self._workers: dict[tuple[str, int], asyncio.Task[Worker]] = {}
        self._versions: set[Version] = set()
        self._loads = asyncio.Semaphore(_LOADS)
        self._closing = False
        self.make_room: Callable[[Version], None] = lambda _: None

    def watch(self, version: Version) -> None:
        """Tell the version when a process ends."""
        self._versions.add(version)

    def forget(self, version: Version) -> None:
        """The opposite of `watch`."""
        self._versions.discard(version)

    async def loaded(self, version: Version, number: int, request: dict[str, Any], example: bytes) -> Worker:
        async with self._loads:
            self.make_room(version)
            worker = await self._place(version.revision.python, number)
            await worker.load(version.name, request, example, version.most_memory)
            return worker

    async def _place(self, python: str, number: int) -> Worker:
        """The living process of that number in an environment, started if need be. Raises Unavailable."""
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

    @property
    def living(self) -> dict[tuple[str, int], Worker]:
        """All processes that run, by environment and number."""
        return {
            key: starting.result()
            for key, starting in self._workers.items()
            if starting.done() and not starting.cancelled() and not starting.exception() and starting.result().alive
        }

    def end(self, key: tuple[str, int], reason: str = "") -> None:
        """End a process; whoever needs it gets another one. `reason`: for whoever has made it necessary."""
        self._workers.pop(key).result().kill(reason)

    def close(self) -> None:
        """End all processes."""
        self._closing = True
        for starting in self._workers.values():
            if starting.done() and not starting.cancelled() and starting.exception() is None:
                starting.result().kill()
            else:
                starting.cancel()
        self._workers.clear()
