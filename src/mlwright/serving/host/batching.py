"""Tick batching: what is queued whenever the model is free goes to it together. Nothing ever waits for company."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from mlwright.kernel.errors import Unavailable
from mlwright.serving.host.answering import Answer
from mlwright.serving.host.counts import Tally
from mlwright.serving.host.tensors import SIZES, TEXT, Array, Asked, Shape, count
from mlwright.serving.host.workers import Answered, Worker, WorkerDied

_log = logging.getLogger(__name__)

_MAX_ROWS = 4_096
_MAX_REQUESTS = 64
_LOOK_AGAIN_S = 0.02


class TooManyRequests(Unavailable):
    """More requests wait than may; the client tries again."""

    code = "too_many_requests"
    title = "Too many requests"
    status = 429


class ModelFailed(Exception):
    """What the model said instead of an answer."""


class Asking:
    """A request on its way through a version, until it has ended.

    Args:
        then: gets the answer, or why there is none; called once.
        died: gets it, and the error, when the process that was to answer has ended; it may be queued again.

    Attributes:
        alone: it shares its batch with no other.
        deaths, attempts: processes that ended while it was in them, and queues that it was in.
    """

    __slots__ = ("alone", "asked", "attempts", "deaths", "died", "then")

    def __init__(
        self, asked: Asked, then: "Callable[[Answer | Exception], None]", died: "Callable[[Asking, WorkerDied], None]"
    ) -> None:
        self.asked = asked
        self.then: Callable[[Answer | Exception], None] | None = then
        self.died = died
        self.alone = False
        self.deaths = self.attempts = 0

    def end(self, outcome: "Answer | Exception") -> None:
        """This is the answer, or the reason why there is none; nothing that comes later counts."""
        then, self.then = self.then, None
        if then is None:
            return
        try:
            then(outcome)
        except Exception:  # a defect of ours with one request must not take the answers of its batch
            _log.exception("an answer could not be told")


class Batcher:
    """The queue before one model in one process.

    Args:
        model: its name in the process.
        tally: of the version.

    Attributes:
        most: requests that may wait.
        under_way: requests that wait or are being answered.
        to_blame: the process ended while it answered a batch of this queue.
    """

    def __init__(self, worker: Worker, model: str, most: int, tally: Tally) -> None:
        self.worker = worker
        self._tally = tally
        self._full_until_s = 0.0
        self.to_blame = False
        self._model = model
        self.most = most
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Asking] = deque()
        self._busy = self._armed = False
        self.under_way = 0

    def ask(self, asking: Asking) -> None:
        """Queue a request. It ends with ModelFailed, with WorkerDied, or with TooManyRequests."""
        if len(self._queue) >= self.most and not self._has_room():
            asking.end(TooManyRequests("too many requests wait for this model"))
            return
        self._queue.append(asking)
        self.under_way += 1
        if not self._busy and not self._armed:
            self._flush()

    def _has_room(self) -> bool:
        """Whether there is, without those that were given up on. They are looked for now and then only."""
        now_s = self._loop.time()
        if now_s < self._full_until_s:
            return False
        waiting = [each for each in self._queue if each.then is not None]
        self.under_way -= len(self._queue) - len(waiting)
        self._queue = deque(waiting)
        if len(waiting) < self.most:
            return True
        self._full_until_s = now_s + _LOOK_AGAIN_S
        return False

    def _flush(self) -> None:
        self._armed = False
        if self._busy:
            return
        taken = self._taken()
        if not taken:
            return
        self._busy = True
        self._tally.batch(len(taken))
        parts = [each.asked.rows for each in taken]
        shape = taken[0].asked.shape
        inputs, data = _stacked(shape, taken, sum(parts))
        self.worker.predict(
            self._model, inputs, parts, data, table=bool(shape.table), answer=partial(self._answered, taken)
        )

    def _taken(self) -> list[Asking]:
        """The next requests that can be one batch."""
        queue = self._queue
        taken: list[Asking] = []
        rows = 0
        while queue and len(taken) < _MAX_REQUESTS:
            following = queue[0]
            if following.then is None:  # it was given up on
                queue.popleft()
                self.under_way -= 1
                continue
            if taken:
                other = following.alone or taken[0].alone or following.asked.shape != taken[0].asked.shape
                if other or rows + following.asked.rows > _MAX_ROWS:
                    break
            taken.append(queue.popleft())
            rows += following.asked.rows
        return taken

    def _answered(self, taken: list[Asking], answer: Answered | WorkerDied) -> None:
        self._busy = False
        self.under_way -= len(taken)
        if isinstance(answer, WorkerDied):
            self.to_blame = answer.while_answering
            for each in taken:
                if answer.was_ended and len(taken) == 1:  # no other request can have been the cause
                    each.end(answer)
                else:
                    each.died(each, answer)
            self.abandon()
            return
        self._armed = len(taken) > 1 or bool(self._queue)
        _share(taken, answer)
        if self._armed:
            # Who gets answers now asks again, and what has come meanwhile was not read yet: both are read before the
            # next batch, which is the second time that the loop comes by here.
            self._loop.call_soon(self._loop.call_soon, self._flush)

    def abandon(self) -> None:
        """The process is gone, and so is whatever waits for it."""
        while self._queue:
            each = self._queue.popleft()
            self.under_way -= 1
            each.died(each, WorkerDied())


def _stacked(shape: Shape, taken: list[Asking], rows: int) -> tuple[list[dict[str, Any]], list[bytes]]:
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


def _share(taken: list[Asking], answer: Answered) -> None:
    """Give each request its rows of the answer."""
    failed = answer.failed
    good = taken
    if failed:
        good = [each for number, each in enumerate(taken) if str(number) not in failed]
    shares: list[list[Array]] = [[] for _ in good]
    read = 0
    for output in answer.outputs:
        name, kind, row = output["name"], output["datatype"], output["shape"][1:]
        texts = output.get("data")
        source, place = (texts, 0) if texts is not None else (answer.data, read)
        size = count(row) * (1 if texts is not None else SIZES[kind])
        for each, share in zip(good, shares, strict=True):
            rows = each.asked.rows
            end = place + rows * size
            share.append(Array(name, kind, [rows, *row], source[place:end]))
            place = end
        if texts is None:
            read = place
    for number, each in enumerate(taken) if failed else ():
        if str(number) in failed:
            each.end(ModelFailed(failed[str(number)]))
    for each, share in zip(good, shares, strict=True):
        each.end(Answer(share, answer.form))
