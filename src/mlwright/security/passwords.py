"""Checking passwords, which is slow on purpose: whoever guesses must not hold up everyone else."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Unavailable
from mlwright.kernel.transaction import Tx

T = TypeVar("T")

#: Most checks waiting; the last of them waits about a second.
MOST_WAITING = 20


class PasswordChecks:
    """Runs checks one after the other, in a thread of their own instead of the database's readers.

    Args:
        database: where the hashes are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mlwright-password")
        self._waiting = 0

    async def read(self, work: Callable[[Tx], T]) -> T:
        """`database.read` for work that hashes a password. Raises Unavailable when too many are waiting."""
        if self._waiting >= MOST_WAITING:
            raise Unavailable(
                "Too many log-ins at once", hint="try again in a moment; tokens are checked without delay"
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._database.read_now, work)
        finally:
            self._waiting -= 1
