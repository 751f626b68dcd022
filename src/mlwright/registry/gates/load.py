"""Sends requests at a constant rate, whatever the answers: `python -I load.py REQUEST`, its report on standard output.

A request is due at a time that was fixed before, and its latency counts from then: a server that stalls is not asked
less, and what waits because of it counts (no coordinated omission). Only the standard library; a process of its own, so
that it measures neither the gate nor the model.
"""

import asyncio
import json
import math
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

#: Latencies are kept in buckets, each so much wider than the one before.
WIDTH = 1.005
#: The first bucket ends here, in seconds.
SMALLEST_S = 1e-5
_MOST_CONNECTIONS = 1_000

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Load:
    """Args:
    request: `port`, `body` (a file), `rate`, `seconds`, `warmup_seconds`, `timeout_seconds`.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self._request = request
        body = Path(request["body"]).read_bytes()
        head = "POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._message = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._idle: deque[Connection] = deque()
        self._room = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._buckets: Counter[int] = Counter()
        self._failures: Counter[str] = Counter()
        self._last_s = 0.0

    async def run(self) -> dict[str, object]:
        """Send all requests and wait for their answers, each for as long as it may take."""
        rate, warmup = self._request["rate"], self._request["warmup_seconds"]
        count, skipped = math.ceil(rate * (warmup + self._request["seconds"])), math.ceil(rate * warmup)
        started = time.perf_counter()
        tasks = set()
        for place in range(count):
            due = started + place / rate
            await asyncio.sleep(max(due - time.perf_counter(), 0.0))
            task = asyncio.create_task(self._one(due, counts=place >= skipped))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        for _, writer in self._idle:
            writer.close()
        lasted = max(self._last_s - started - warmup, self._request["seconds"])
        answers = dict(sorted(self._buckets.items()))
        return {"sent": count - skipped, "lasted_s": lasted, "buckets": answers, "failures": dict(self._failures)}

    async def _one(self, due: float, *, counts: bool) -> None:
        failure = ""
        try:
            left = due + self._request["timeout_seconds"] - time.perf_counter()
            async with asyncio.timeout(max(left, 0.0)), self._room:
                failure = await self._exchange()
        except TimeoutError:
            failure = "timeout"
        except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
            failure = type(error).__name__
        if not counts:
            return
        self._last_s = time.perf_counter()
        if failure:
            self._failures[failure] += 1
        else:
            self._buckets[bucket(self._last_s - due)] += 1

    def _kept(self) -> Connection | None:
        """A connection from before; one that the other side has closed since is not used, as no client does."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return None

    async def _exchange(self) -> str:
        """Send a request and read the answer. Returns what was wrong with it."""
        connection = self._kept() or await asyncio.open_connection("127.0.0.1", self._request["port"])
        reader, writer = connection
        try:
            writer.write(self._message)
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
            await reader.readexactly(int(fields.get(b"content-length", b"0")))
            status = head.split(b" ", 2)[1].decode()
        except BaseException:  # also when cancelled: what comes later on it would be taken for another answer
            writer.close()
            raise
        if fields.get(b"connection", b"").strip() == b"close":
            writer.close()
        else:
            self._idle.append(connection)
        return "" if status == "200" else f"HTTP {status}"


def bucket(seconds: float) -> int:
    """The number of the bucket for a latency."""
    return max(0, math.ceil(math.log(max(seconds, SMALLEST_S) / SMALLEST_S) / math.log(WIDTH)))


def upper_s(number: int) -> float:
    """The longest latency in a bucket, in seconds."""
    return SMALLEST_S * WIDTH**number


if __name__ == "__main__":
    print(json.dumps(asyncio.run(Load(json.loads(Path(sys.argv[1]).read_bytes())).run())))
