"""Notices of committed changes: wakes streams without polling the database.

A notice is only a hint: whoever waits reads the database afterwards, and also wakes up from time to time by itself,
because a notice of another server on the same PostgreSQL database may be late or lost.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable

#: Topic of the event log as a whole.
EVENTS = "events"


class Changes:
    """Topics and the tasks that wait for them. `publish` may be called from any thread.

    Attributes:
        closed: the server is stopping; streams end when they see it.
    """

    def __init__(self) -> None:
        self.closed = False
        self._waiting: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = defaultdict(set)

    def publish(self, topics: Iterable[str]) -> None:
        """Wake everyone who waits for one of the topics."""
        for topic in topics:
            for loop, event in list(self._waiting.get(topic, ())):
                loop.call_soon_threadsafe(event.set)

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
        entry = (asyncio.get_running_loop(), event)
        self._waiting[topic].add(entry)
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            return False
        else:
            return True
        finally:
            self._waiting[topic].discard(entry)
            if not self._waiting[topic]:
                self._waiting.pop(topic, None)
