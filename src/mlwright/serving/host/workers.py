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
from mlwright.serving.host.answering import encode
from mlwright.serving.programs.modelworker import frames

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
        while_answering: the request was in it; otherwise it still waited.
    """

    def __init__(self, message: str = "the model's process ended", *, while_answering: bool = False) -> None:
        super().__init__(message)
        self.while_answering = while_answering


class Worker(asyncio.Protocol):
    """A process that answers batches in order.

    Args:
        ended: called once when the process has hung up.
    """

    def __init__(self, process: subprocess.Popen[bytes], ended: Callable[["Worker"], None]) -> None:
        self.process = process
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._splitter = frames.Splitter(msgspec.json.decode)
        self._transport: asyncio.Transport
        self._batches: dict[int, Callable[[Answered | None], None]] = {}
        self._loading: dict[str, asyncio.Future[float]] = {}
        self._numbers = itertools.count()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self.alive = True

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
        _, worker = await asyncio.get_running_loop().create_connection(lambda: cls(process, ended), sock=ours)
        await worker._ready
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
        for answer in batches.values():
            answer(None)
        self._ended(self)

    def data_received(self, data: bytes) -> None:
        for frame in self._splitter.feed(data):
            self._heard(frame.head, cast("bytes", frame.data))

    def _heard(self, head: dict[str, Any], data: bytes) -> None:
        kind = head["kind"]
        if kind == "predicted":
            answer = self._batches.pop(head["batch"])
            answer(Answered(head["outputs"], data, head["failed"], head["seconds"], head["form"]))
        elif kind == "ready":
            self._ready.set_result(None)
        else:
            future = self._loading.pop(head["model"])
            if future.done():
                return
            if kind == "loaded":
                future.set_result(head["seconds"])
            else:
                future.set_exception(Unavailable(head["error"]))

    # --- what it is asked ----------------------------------------------------------------------------------------

    async def load(self, model: str, request: dict[str, Any], example: bytes = b"") -> float:
        """Load a model. Returns the seconds it took. Raises Unavailable with what it says."""
        future = self._loading[model] = self._loop.create_future()
        self._transport.write(frames.encode({"kind": "load", "model": model, **request}, example))
        seconds: float = await future
        return seconds

    def drop(self, model: str) -> None:
        """Forget a model."""
        self._transport.write(frames.encode({"kind": "drop", "model": model}))

    def predict(
        self,
        model: str,
        inputs: list[dict[str, Any]],
        parts: list[int],
        data: Sequence[bytes],
        *,
        table: bool,
        answer: Callable[[Answered | None], None],
    ) -> None:
        """Ask a batch; `answer` gets None when the process dies first.

        Args:
            inputs: description of the arrays, as the worker wants it.
            parts: rows of each request in the batch.
            table: the arrays are columns of a table.
        """
        if not self.alive:
            answer(None)
            return
        number = next(self._numbers)
        self._batches[number] = answer
        head = {"kind": "predict", "batch": number, "model": model, "inputs": inputs, "parts": parts, "table": table}
        self._transport.write(frames.joined(encode(head), *data))

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self._transport.abort()
