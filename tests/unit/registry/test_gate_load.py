"""The load does not wait for answers, and quantiles of latency are told with how sure they are."""

import asyncio
import math
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlwright.registry.gates import load
from mlwright.registry.gates.performance import order_statistics, quantile

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Model:
    """A server that answers at once, but stops doing so for a while, once."""

    def __init__(self, stall_s: float = 0.0, answer: bytes = _ANSWER) -> None:
        self._stall_s, self._answer = stall_s, answer
        self.requests = 0
        self.connections: set[asyncio.Task[None] | None] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(asyncio.current_task())
        while head := await reader.read(1 << 16):
            assert b"Content-Length: 2\r\n\r\n{}" in head
            self.requests += 1
            while self._stall_s and self.requests > 20:
                stall_s, self._stall_s = self._stall_s, 0.0
                self._gone = asyncio.Event()
                asyncio.get_running_loop().call_later(stall_s, self._gone.set)
            if hasattr(self, "_gone"):
                await self._gone.wait()
            writer.write(self._answer)
        writer.close()


def loaded(model: Model, tmp_path: Path, **asked: float) -> dict[str, object]:
    body = tmp_path / "body"
    body.write_bytes(b"{}")

    async def run() -> dict[str, object]:
        server = await asyncio.start_server(model, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        settings = {"rate": 100, "seconds": 0.6, "warmup_seconds": 0, "timeout_seconds": 5, **asked}
        try:
            return await load.Load({"port": port, "body": str(body), **settings}).run()
        finally:
            server.close()
            await asyncio.gather(*filter(None, model.connections))

    return asyncio.run(run())


def test_what_waits_behind_a_stall_counts(tmp_path: Path) -> None:
    model = Model(stall_s=1.0)
    report = loaded(model, tmp_path)
    assert model.requests == report["sent"] == 60
    buckets = report["buckets"]
    assert isinstance(buckets, dict)
    late = sum(count for number, count in buckets.items() if load.upper_s(number) > 0.5)
    assert late >= 35  # all that was due in the 0.4 s that were left, and not the one that stalled
    assert report["failures"] == {}


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "HTTP 500"),
        (b"nonsense\r\n\r\n", "IndexError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "ValueError"),
        (b"x" * 100_000, "LimitOverrunError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", "timeout"),
    ],
)
def test_only_whole_good_answers_count(tmp_path: Path, answer: bytes, failure: str) -> None:
    report = loaded(Model(answer=answer), tmp_path, seconds=0.05, timeout_seconds=0.3)
    assert report["failures"] == {failure: 5}
    assert report["buckets"] == {}


def test_warming_up_is_not_counted(tmp_path: Path) -> None:
    model = Model()
    assert loaded(model, tmp_path, seconds=0.1, warmup_seconds=0.1)["sent"] == 10
    assert model.requests == 20


def test_nobody_listens(tmp_path: Path) -> None:
    async def run() -> dict[str, object]:
        (tmp_path / "body").write_bytes(b"{}")
        asked = {"port": 1, "body": str(tmp_path / "body"), "rate": 100, "seconds": 0.02}
        return await load.Load({**asked, "warmup_seconds": 0, "timeout_seconds": 1}).run()

    assert asyncio.run(run())["failures"] == {"ConnectionRefusedError": 2}


@given(st.floats(1e-5, 1e4))
def test_buckets_are_narrow(seconds: float) -> None:
    number = load.bucket(seconds)
    assert seconds * 0.999_999 <= load.upper_s(number) <= seconds * load.WIDTH * 1.000_001


@pytest.mark.parametrize(("sent", "low", "high"), [(20, 6, 15), (100, 40, 61)])
def test_ranks_that_hold_the_median(sent: int, low: int, high: int) -> None:
    """As in the tables of Conover, Practical Nonparametric Statistics (1999)."""
    assert order_statistics(sent, 0.5, 0.025) == (low, high)


@given(st.integers(1, 600), st.sampled_from([0.5, 0.9, 0.99]), st.sampled_from([0.005, 0.025, 0.05]))
def test_ranks_are_the_nearest_that_hold_a_quantile(sent: int, share: float, tail: float) -> None:
    def below(rank: int) -> float:
        """The probability that fewer than `rank` answers are faster than the quantile."""
        return math.fsum(math.comb(sent, k) * share**k * (1 - share) ** (sent - k) for k in range(rank))

    low, high = order_statistics(sent, share, tail)
    assert low == 0 or below(low) <= tail * (1 + 1e-9)
    assert below(low + 1) > tail * (1 - 1e-9)
    assert high == sent + 1 or below(high) >= (1 - tail) * (1 - 1e-9)
    assert high == 1 or below(high - 1) < (1 - tail) * (1 + 1e-9)


def test_the_interval_holds_the_quantile_as_often_as_it_says() -> None:
    chance, inside = random.Random(1), 0
    truth = math.log(2) * 1_000  # the median of exponential latencies of 1 s, in milliseconds
    for _ in range(400):
        buckets = Counter(load.bucket(chance.expovariate(1.0)) for _ in range(101))
        found = quantile(buckets, 101, 0.5, 0.9)
        inside += found.low <= truth <= found.high
    assert 0.87 <= inside / 400 <= 0.97


def test_what_was_not_answered_is_infinitely_late() -> None:
    buckets = {load.bucket(0.01): 90}
    assert quantile(buckets, 100, 0.5, 0.95).high == pytest.approx(10, rel=0.01)
    assert math.isinf(quantile(buckets, 100, 0.99, 0.95).value)
