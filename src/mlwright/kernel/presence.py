"""Which servers on a database are gone, so that what they were at need not wait for their leases."""

import time
from collections.abc import Callable, Collection

from mlwright.kernel.engine import Engine

#: One that lost its connection, as when the database restarts, is back within so many seconds.
GRACE_S = 2.5


class Presence:
    """Args:
    engine: knows who is there now.
    monotonic: seconds that only grow.
    """

    def __init__(self, engine: Engine, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._absent: dict[str, float] = {}

    def gone(self, servers: Collection[str]) -> set[str]:
        """Those of the servers that are not there, and were not for a while. Blocks. Raises Unavailable.

        Who is not seen itself cannot say that others are not there.
        """
        own, now = self._engine.server, self._monotonic()
        others = set(servers) - {own}
        there = set(self._engine.servers()) if others else set()
        absent = others - there if own in there else set()
        self._absent = {name: self._absent.get(name, now) for name in absent}
        return {name for name, since in self._absent.items() if now - since >= GRACE_S}
