"""Processes that hold models, one per environment, and the frames that go to and from them."""

import asyncio
import itertools
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from mlwright.kernel.errors import Unavailable
from mlwright.serving import programs
from mlwright.serving.host import memory
from mlwright.serving.host.answering import encode
from mlwright.serving.programs.modelworker import frames

_REAP_S = 0.05
_START_S, _LOAD_S = 120.0, 300.0
_START = Path(programs.__file__ or "").parent / "start_model_worker.py"


class Answered(NamedTuple):
    """What a worker answered to a batch.

    Attributes:
        outputs: descriptions of arrays, in the order of their bytes in `data`.
        failed: what went wrong, by the number of the request in the batch.
        seconds: that the model took.
        form: "array", "arrays" or "table".
    """

    outputs: list[dict[str, Any]]
    data: bytes
    failed: dict[str, str]
    seconds: float
    form: str


class WorkerDied(Unavailable):
    """The process ended, or hung up.

    Attributes:
        while_answering: the request was being answered; otherwise it still waited, also in the process.
        was_ended: by the host, for the reason that the message gives.
    """

    def __init__(
        self, message: str = "the model's process ended", *, while_answering: bool = False, was_ended: bool = False
    ) -> None:
        super().__init__(message)
        self.while_answering = while_answering
        self.was_ended = was_ended


class Worker(asyncio.Protocol):
    """A process that answers batches in order.

    Args:
        ended: called once when the process has hung up.

    Attributes:
        models: bytes that each took when it was loaded.
        heard_s: when it last answered, or was given something to do.
    """

    def __init__(self, process: subprocess.Popen[bytes], ended: Callable[["Worker"], None]) -> None:
        self.process = process
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._splitter = frames.Splitter(msgspec.json.decode)
        self._transport: asyncio.Transport
        self._batches: dict[int, tuple[str, Callable[[Answered | WorkerDied], None]]] = {}
        self._loading: dict[str, asyncio.Future[float]] = {}
        self._numbers = itertools.count()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._limits: dict[str, int] = {}
        self._base = 0
        self.models: dict[str, int] = {}
        self.heard_s = self._loop.time()
        self.alive = True
        self._reason = ""

    @classmethod
    async def start(
        cls, python: Path, ended: Callable[["Worker"], None], environment: Mapping[str, str], log: int
    ) -> "Worker":
        """Start a process and wait until it listens. Raises WorkerDied."""
        ours, theirs = socket.socketpair()
        for each in (ours, theirs):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                each.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
        with theirs:
            process = await asyncio.to_thread(
                subprocess.Popen,
                [str(python), "-I", str(_START), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        memory.give_way(process.pid)
        _, worker = await asyncio.get_running_loop().create_connection(lambda: cls(process, ended), sock=ours)
        try:
            async with asyncio.timeout(_START_S):
                await worker._ready
        except TimeoutError:
            worker.kill()
            raise WorkerDied(f"the model's process is not ready after {_START_S:g} s") from None
        return worker

    # --- the connection ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        if not self._ready.done():
            self._ready.set_exception(WorkerDied("the model's process ended before it was ready"))
        for future in self._loading.values():
            if not future.done():
                future.set_exception(WorkerDied("the model's process ended while it loaded the model"))
        batches, self._batches = self._batches, {}
        for place, (_, answer) in enumerate(batches.values()):  # batches are answered in order
            if place == 0 and self._reason:
                answer(WorkerDied(self._reason, while_answering=True, was_ended=True))
            else:
                answer(WorkerDied(while_answering=place == 0))
        self._reap()
        self._ended(self)

    def _reap(self) -> None:
        """A process that has hung up is of no use, should it still run."""
        if self.process.poll() is None:
            self.process.kill()
            self._loop.call_later(_REAP_S, self._reap)

    def data_received(self, data: bytes) -> None:
        for frame in self._splitter.feed(data):
            self._heard(frame.head, cast("bytes", frame.data))

    def _heard(self, head: dict[str, Any], data: bytes) -> None:
        kind = head["kind"]
        if kind == "predicted":
            self.heard_s = self._loop.time()
            _, answer = self._batches.pop(head["batch"])
            answer(Answered(head["outputs"], data, head["failed"], head["seconds"], head["form"]))
        elif kind == "ready":
            self._base = memory.of_process(self.process.pid).private
            self._ready.set_result(None)
        else:
            future = self._loading.pop(head["model"], None)
            if future is None or future.done():
                if kind == "loaded" and head["model"] not in self._limits:  # nobody has waited for it so long
                    self.drop(head["model"])
                return
            if kind == "loaded":
                future.set_result(head["seconds"])
            else:
                future.set_exception(Unavailable(head["error"]))

    # --- what it is asked ----------------------------------------------------------------------------------------

    async def load(self, model: str, request: Mapping[str, Any], example: bytes, most: int) -> None:
        """Load a model. Raises Unavailable with what it says.

        Args:
            most: bytes of memory that it may take.
        """
        self._limits[model] = most
        self._confine()
        before = memory.of_process(self.process.pid).private
        future = self._loading[model] = self._loop.create_future()
        self._transport.write(frames.encode({"kind": "load", "model": model, **request}, example))
        try:
            async with asyncio.timeout(_LOAD_S):
                await future
        except (Unavailable, TimeoutError) as error:
            self._loading.pop(model, None)
            self._limits.pop(model, None)
            if isinstance(error, Unavailable):
                raise
            raise Unavailable(f"the model is not loaded after {_LOAD_S:g} s") from None
        grown = max(memory.of_process(self.process.pid).private - before, 0)
        self.models[model] = grown
        if grown > most:
            self.drop(model)
            raise Unavailable(f"the model takes {grown >> 20} MiB of memory, and may take {most >> 20}")
        self._confine()

    def drop(self, model: str) -> None:
        """Forget a model."""
        self.models.pop(model, None)
        self._limits.pop(model, None)
        self._transport.write(frames.encode({"kind": "drop", "model": model}))

    def _confine(self) -> None:
        """Batches are answered one by one: one model at a time takes more than it did when it was loaded."""
        memory.limit(self.process.pid, self._headroom)

    @property
    def _headroom(self) -> int:
        return max((most - self.models.get(name, 0) for name, most in self._limits.items()), default=0)

    @property
    def is_empty(self) -> bool:
        """Whether it has no model, nor is to get one."""
        return not self._limits

    @property
    def is_loading(self) -> bool:
        """Whether it loads a model, which may hold up its answers."""
        return bool(self._loading)

    @property
    def memory(self) -> int:
        """Bytes that it takes."""
        return memory.of_process(self.process.pid).private

    @property
    def most_memory(self) -> int:
        """Bytes that it may take."""
        return self._base + sum(self.models.values()) + self._headroom

    @property
    def answering(self) -> str:
        """The model whose batch it answers now; empty when there is none."""
        return next(iter(self._batches.values()))[0] if self._batches else ""

    def predict(
        self,
        model: str,
        inputs: list[dict[str, Any]],
        parts: list[int],
        data: Sequence[bytes],
        *,
        table: bool,
        answer: Callable[[Answered | WorkerDied], None],
    ) -> None:
        """Ask a batch; `answer` gets WorkerDied when the process dies first.

        Args:
            inputs: description of the arrays, as the worker wants it.
            parts: rows of each request in the batch.
            table: the arrays are columns of a table.
        """
        if not self.alive:
            answer(WorkerDied())
            return
        if not self._batches:
            self.heard_s = self._loop.time()
        number = next(self._numbers)
        self._batches[number] = (model, answer)
        head = {"kind": "predict", "batch": number, "model": model, "inputs": inputs, "parts": parts, "table": table}
        self._transport.write(frames.joined(encode(head), *data))

    def kill(self, reason: str = "") -> None:
        """End it at once. Whoever waits for the answer that it is at gets to know the reason, if there is one."""
        self._reason = reason
        self.process.kill()
        self._transport.abort()
