"""Notices of committed changes: wakes streams without polling the database.

A notice is only a hint: whoever waits reads the database afterwards, and also wakes up from time to time by itself,
because a notice of another server on the same PostgreSQL database may be late or lost.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

#: Topic of the event log as a whole.
EVENTS = "events"


class Changes:
    """Topics and who waits for them. `publish` may be called from any thread.

    Attributes:
        closed: the server is stopping; streams end when they see it.
    """

    def __init__(self) -> None:
        self.closed = False
        self._waiting: dict[str, set[Callable[[], object]]] = defaultdict(set)

    def publish(self, topics: Iterable[str]) -> None:
        """Wake everyone who waits for one of the topics."""
        for topic in topics:
            for wake in list(self._waiting.get(topic, ())):
                wake()

    def publish_all(self) -> None:
        """Wake everyone who waits: it is not known what has changed."""
        self.publish(list(self._waiting))

    def close(self) -> None:
        """The server is stopping: wake everyone who waits, so that open streams do not hold it up."""
        self.closed = True
        self.publish_all()

    async def wait(self, topic: str, timeout_s: float) -> bool:
        """Wait for the next notice. Returns False when none came within `timeout_s` seconds."""
        event = asyncio.Event()
        with self.listening(topic, partial(asyncio.get_running_loop().call_soon_threadsafe, event.set)):
            try:
                await asyncio.wait_for(event.wait(), timeout_s)
            except TimeoutError:
                return False
            return True

    @contextmanager
    def listening(self, topic: str, wake: Callable[[], object]) -> Iterator[None]:
        """Within the block, `wake` is called at each notice, by the thread that publishes it: it must not block.

        Who listens before reading misses nothing that comes while it reads.
        """
        self._waiting[topic].add(wake)
        try:
            yield
        finally:
            self._waiting[topic].discard(wake)
            if not self._waiting[topic]:
                self._waiting.pop(topic, None)
