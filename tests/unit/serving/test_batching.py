"""Batches before a process that does what it is told: who shares one, and who is told what."""

import asyncio
import struct
from collections.abc import Callable
from typing import Any, cast

import pytest

from mlwright.serving.host.answering import Answer
from mlwright.serving.host.batching import Asking, Batcher, TooManyRequests
from mlwright.serving.host.counts import Tally
from mlwright.serving.host.tensors import Asked, Shape
from mlwright.serving.host.workers import Answered, Worker, WorkerDied

SHAPE = Shape(("x",), ("FP64",), ((1,),))
OTHER = Shape(("y",), ("FP64",), ((1,),))


class Process:
    """Keeps the batches that it is asked, until it is told to answer."""

    alive = True

    def __init__(self) -> None:
        self.batches: list[tuple[bytes, Callable[[Answered | WorkerDied], None]]] = []

    def predict(
        self,
        _model: str,
        inputs: list[dict[str, Any]],
        parts: list[int],
        data: list[bytes],
        *,
        table: bool,
        answer: Callable[[Answered | WorkerDied], None],
    ) -> None:
        assert not table
        assert inputs[0]["shape"][0] == sum(parts)
        self.batches.append((b"".join(data), answer))

    def echo(self) -> None:
        """Answer the oldest batch with what it was asked."""
        data, answer = self.batches.pop(0)
        answer(Answered([{"name": "x", "datatype": "FP64", "shape": [len(data) // 8]}], data, {}, 0.0, "array"))


class Client:
    """Asks numbers, and notes what it is told."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.told: dict[float, Any] = {}
        self.deaths: list[bool] = []

    def ask(self, value: float, shape: Shape = SHAPE, then: Callable[[], object] | None = None) -> Asking:
        def heard(outcome: Answer | Exception) -> None:
            self.told[value] = outcome.arrays[0].values() if isinstance(outcome, Answer) else type(outcome)
            if then is not None:
                then()

        asked = Asked(shape, 1, (struct.pack("<d", value),))
        asking = Asking(asked, heard, lambda asking, error: self.deaths.append(error.while_answering))
        self.batcher.ask(asking)
        return asking


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def scene(most: int = 100) -> tuple[Process, Client]:
    process = Process()
    return process, Client(Batcher(cast("Worker", process), "m", most, Tally()))


def sizes(process: Process) -> list[int]:
    return [len(data) // 8 for data, _ in process.batches]


def test_what_waits_goes_together() -> None:
    async def play() -> None:
        process, client = scene()
        client.ask(0)
        assert sizes(process) == [1]  # nothing waits while the model is free
        for value in (1, 2, 3):
            client.ask(value)
        client.ask(4, OTHER)
        process.echo()
        await turns()
        assert sizes(process) == [3]
        process.echo()
        await turns()
        process.echo()
        assert client.told == {value: [value] for value in range(5)}
        assert client.batcher.under_way == 0

    asyncio.run(play())


def test_who_asks_again_at_once_joins_those_who_waited() -> None:
    async def play() -> None:
        process, client = scene()
        client.ask(1, then=lambda: asyncio.get_running_loop().call_soon(client.ask, 3))
        await turns()
        client.ask(2)
        process.echo()
        await turns()
        assert sizes(process) == [2]

    asyncio.run(play())


def test_who_was_given_up_on_is_not_asked() -> None:
    async def play() -> None:
        process, client = scene()
        client.ask(1)
        await turns()
        client.ask(2).end(TimeoutError())
        client.ask(3)
        process.echo()
        await turns()
        assert sizes(process) == [1]
        process.echo()
        assert client.told == {1: [1], 2: TimeoutError, 3: [3]}
        assert client.batcher.under_way == 0

    asyncio.run(play())


def test_a_defect_in_one_answer_takes_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        process, client = scene()
        client.ask(0)
        client.ask(1, then=lambda: 1 / 0)
        client.ask(2)
        process.echo()
        await turns()
        process.echo()
        assert client.told[2] == [2]
        client.ask(3)
        await turns()
        assert sizes(process) == [1]

    asyncio.run(play())
    assert "could not be told" in caplog.text


def test_the_queue_has_an_end_and_a_death_tells_all() -> None:
    async def play() -> None:
        process, client = scene(most=2)
        client.ask(1)
        await turns()
        for value in (2, 3, 4):
            client.ask(value)
        assert client.told == {4: TooManyRequests}
        _, answer = process.batches.pop()
        answer(WorkerDied(while_answering=True))
        assert client.deaths == [True, False, False]
        assert client.batcher.under_way == 0

    asyncio.run(play())
