"""Tick batching: what is queued whenever the model is free goes to it together. Nothing ever waits for company."""

import asyncio
from collections import deque
from typing import Any, NamedTuple

from mlwright.kernel.errors import Unavailable
from mlwright.serving.host.answering import Answer
from mlwright.serving.host.tensors import SIZES, TEXT, Array, Asked, Shape, count
from mlwright.serving.host.workers import Answered, Worker, WorkerDied

_MAX_ROWS = 4_096
_MAX_REQUESTS = 64


class TooManyRequests(Unavailable):
    """More requests wait than may; the client tries again."""

    code = "too_many_requests"
    title = "Too many requests"
    status = 429


class ModelFailed(Exception):
    """What the model said instead of an answer."""


class _Waiting(NamedTuple):
    asked: Asked
    future: "asyncio.Future[Answer]"
    alone: bool


class Batcher:
    """The queue before one model in one process.

    Args:
        model: its name in the process.
        most: requests that may wait.
    """

    def __init__(self, worker: Worker, model: str, most: int) -> None:
        self.worker = worker
        self._model = model
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Waiting] = deque()
        self._busy = self._armed = False
        self.under_way = 0

    def ask(self, asked: Asked, *, alone: bool = False) -> "asyncio.Future[Answer]":
        """Queue a request. Its future ends with ModelFailed, or with WorkerDied. Raises TooManyRequests.

        Args:
            alone: it shares its batch with no other.
        """
        if len(self._queue) >= self._most:
            raise TooManyRequests("too many requests wait for this model")
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._queue.append(_Waiting(asked, future, alone))
        self.under_way += 1
        if not self._busy and not self._armed:
            self._armed = True
            self._loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        self._armed = False
        if self._busy:
            return
        taken = self._taken()
        if not taken:
            return
        self._busy = True
        rows = sum(each.asked.rows for each in taken)
        shape = taken[0].asked.shape
        inputs, data = _stacked(shape, taken, rows)
        parts = [each.asked.rows for each in taken]
        self.worker.predict(self._model, inputs, parts, data, table=bool(shape.table), answer=self._answer(taken))

    def _taken(self) -> list[_Waiting]:
        """The next requests that can be one batch."""
        queue = self._queue
        taken: list[_Waiting] = []
        rows = 0
        while queue and len(taken) < _MAX_REQUESTS:
            following = queue[0]
            if following.future.done():  # the client is gone
                queue.popleft()
                self.under_way -= 1
                continue
            other = taken and (following.alone or taken[0].alone or following.asked.shape != taken[0].asked.shape)
            if other or (taken and rows + following.asked.rows > _MAX_ROWS):
                break
            taken.append(queue.popleft())
            rows += following.asked.rows
        return taken

    def _answer(self, taken: list[_Waiting]) -> Any:
        def answered(answer: Answered | None) -> None:
            self._busy = False
            self.under_way -= len(taken)
            if answer is None:
                for each in taken:
                    _fail(each, WorkerDied(while_answering=True))
                self.abandon()
                return
            _share(taken, answer)
            if self._queue:
                self._flush()

        return answered

    def abandon(self) -> None:
        """The process is gone, and so is whatever waits for it."""
        while self._queue:
            _fail(self._queue.popleft(), WorkerDied())
            self.under_way -= 1


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)


def _stacked(shape: Shape, taken: list[_Waiting], rows: int) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The arrays of a batch one below the other: their description, and the bytes of all requests."""
    inputs: list[dict[str, Any]] = []
    data: list[bytes] = []
    for place, name in enumerate(shape.names):
        kind = shape.datatypes[place]
        described: dict[str, Any] = {"name": name, "datatype": kind, "shape": [rows, *shape.rows[place]]}
        if kind == TEXT:
            described["data"] = [text for each in taken for text in each.asked.arrays[place]]
        else:
            data += [each.asked.arrays[place] for each in taken]  # type: ignore[misc]
        inputs.append(described)
    return inputs, data


def _share(taken: list[_Waiting], answer: Answered) -> None:
    """Give each request its rows of the answer."""
    failed = answer.failed
    good = [each for number, each in enumerate(taken) if not failed or str(number) not in failed]
    for number, each in enumerate(taken) if failed else ():
        if str(number) in failed:
            _fail(each, ModelFailed(failed[str(number)]))
    shares: list[list[Array]] = [[] for _ in good]
    read = 0
    for output in answer.outputs:
        name, kind, row = output["name"], output["datatype"], output["shape"][1:]
        texts = output.get("data")
        source, place = (texts, 0) if texts is not None else (answer.data, read)
        size = count(row) * (1 if texts is not None else SIZES[kind])
        for each, share in zip(good, shares, strict=True):
            end = place + each.asked.rows * size
            share.append(Array(name, kind, [each.asked.rows, *row], source[place:end]))
            place = end
        if texts is None:
            read = place
    for each, share in zip(good, shares, strict=True):
        if not each.future.done():
            each.future.set_result(Answer(share, answer.form))
