"""Hashing passwords, which is slow on purpose: whoever makes or guesses one must not hold up everyone else."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from secrets import token_bytes
from typing import TypeVar

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Unauthenticated, Unavailable
from mlwright.kernel.identity import Caller
from mlwright.security import secrets, service, spec
from mlwright.security.attempts import MOST_REMEMBERED, Attempts
from mlwright.security.secrets import PasswordHash

T = TypeVar("T")

_log = logging.getLogger(__name__)
_SHOWN = 100
#: Most that wait for a hash; the last of them waits about a second.
MOST_WAITING = 20


class HashingThread:
    """Runs one piece of work after the other, outside the event loop and the database's threads."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mlwright-password")
        self._waiting = 0

    async def run(self, work: Callable[[], T], *, always: bool = False) -> T:
        """The result of `work`. Raises Unavailable when too many are waiting, unless it must `always` be done."""
        if self._waiting >= MOST_WAITING and not always:
            raise Unavailable(
                "Too many log-ins at once", hint="try again in a moment; tokens are checked without delay"
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1


class PasswordChecks:
    """Checks names with passwords, and how many wrong ones are tried.

    Args:
        database: where the hashes are.
        monotonic: a clock in seconds.
    """

    def __init__(self, database: Database, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._thread = HashingThread()
        self._attempts = Attempts(monotonic)
        self._key = token_bytes(32)
        self._right: dict[bytes, None] = {}
        self._running: dict[bytes, asyncio.Task[Caller]] = {}

    async def caller(self, name: str, password: str, client: str = "") -> Caller:
        """Who this is. A password that was right before is never refused for the wrong ones of others.

        Args:
            name: of the principal.
            password: what proves it.
            client: the caller's address, as far as it is known.

        Raises Unauthenticated, TooManyAttempts, and Unavailable when too many are waiting.
        """
        seen = blake2b(f"{name}:{password}".encode("utf-8", "surrogatepass"), key=self._key, digest_size=32).digest()
        running = self._running.get(seen)
        if running is None:  # else many programs of one user begin at once, and one answer is for all of them
            running = asyncio.create_task(self._check(seen, name, password, client))
            self._running[seen] = running
            running.add_done_callback(lambda _: self._running.pop(seen, None))
        return await asyncio.shield(running)

    async def _check(self, seen: bytes, name: str, password: str, client: str) -> Caller:
        was_right = seen in self._right
        if not was_right:
            self._attempts.begin(name, client)
        try:
            caller = await self._thread.run(
                lambda: self._database.read_now(lambda tx: service.caller_by_password(tx, name, password)),
                always=was_right,
            )
        except Unauthenticated:
            self._right.pop(seen, None)
            _log.warning("a wrong password for %r from %s", name[:_SHOWN], client or "an unknown address")
            raise
        except Unavailable:
            if not was_right:
                self._attempts.not_tried(name, client)
            raise
        if not was_right:
            self._attempts.succeeded(name, client)
            if len(self._right) >= MOST_REMEMBERED:
                del self._right[next(iter(self._right))]
        self._right[seen] = None
        return caller


class NewPasswords:
    """Hashes passwords that are to be stored, before the transaction that stores them."""

    def __init__(self) -> None:
        self._thread = HashingThread()

    async def hash(self, password: str) -> PasswordHash:
        """Raises Invalid for a password that is too short or too long, Unavailable when too many are waiting."""
        spec.check_password(password)
        return await self._thread.run(lambda: secrets.hash_password(password))
