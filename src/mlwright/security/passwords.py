"""Hashing passwords, which is slow on purpose: whoever makes or guesses one must not hold up everyone else."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Unavailable
from mlwright.kernel.transaction import Tx
from mlwright.security import secrets, spec
from mlwright.security.secrets import PasswordHash

T = TypeVar("T")

#: Most that wait for a hash; the last of them waits about a second.
MOST_WAITING = 20


class HashingThread:
    """Runs one piece of work after the other, outside the event loop and the database's threads."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mlwright-password")
        self._waiting = 0

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`. Raises Unavailable when too many are waiting."""
        if self._waiting >= MOST_WAITING:
            raise Unavailable(
                "Too many log-ins at once", hint="try again in a moment; tokens are checked without delay"
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1


class PasswordChecks:
    """Checks passwords.

    Args:
        database: where the hashes are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = HashingThread()

    async def read(self, work: Callable[[Tx], T]) -> T:
        """`database.read` for work that hashes a password. Raises Unavailable when too many are waiting."""
        return await self._thread.run(lambda: self._database.read_now(work))


class NewPasswords:
    """Hashes passwords that are to be stored, before the transaction that stores them."""

    def __init__(self) -> None:
        self._thread = HashingThread()

    async def hash(self, password: str) -> PasswordHash:
        """Raises Invalid for a password that is too short or too long, Unavailable when too many are waiting."""
        spec.check_password(password)
        return await self._thread.run(lambda: secrets.hash_password(password))
