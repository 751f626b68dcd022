"""Wrong passwords: how many one may try, so that guessing has an end and nobody is locked out by a stranger.

Three limits hold at once: for one account from one address, for one address over all accounts, and for one account over
all addresses. The last one leaves each address that has not failed at the account for an hour one try: its owner, who
knows the password, gets in while others guess.
"""

import hashlib
import ipaddress
import math
from collections.abc import Callable
from typing import NamedTuple

from mlwright.kernel.errors import TooManyAttempts


class Allowance(NamedTuple):
    """So many tries at once, and one more every so many seconds."""

    tries: int
    every_s: float


PER_PAIR = Allowance(10, 30.0)
PER_ADDRESS = Allowance(50, 6.0)
PER_ACCOUNT = Allowance(100, 60.0)
#: Of an address at an account that others try to guess.
WHILE_GUESSED = Allowance(1, 3_600.0)
#: Most accounts, addresses and pairs that are remembered, each; those that failed longest ago are forgotten first.
MOST_REMEMBERED = 10_000


class _Spent:
    """When each key will have all its tries again."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._until_s: dict[bytes, float] = {}

    def wait_s(self, key: bytes, now_s: float) -> float:
        """Seconds until there is a try; 0 when there is one."""
        tries, every_s = self._allowance
        return max(0.0, self._until_s.get(key, now_s) - now_s - (tries - 1) * every_s)

    def take(self, key: bytes, now_s: float) -> None:
        until_s = max(self._until_s.pop(key, now_s), now_s)
        if len(self._until_s) >= MOST_REMEMBERED:
            del self._until_s[next(iter(self._until_s))]
        self._until_s[key] = until_s + self._allowance.every_s

    def give_back(self, key: bytes) -> None:
        if key in self._until_s:
            self._until_s[key] -= self._allowance.every_s

    def forget(self, key: bytes) -> None:
        self._until_s.pop(key, None)


class _Keys(NamedTuple):
    pair: bytes
    address: bytes
    account: bytes


class Attempts:
    """Counts wrong passwords, in memory.

    Args:
        monotonic: a clock in seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._pairs = _Spent(PER_PAIR)
        self._addresses = _Spent(PER_ADDRESS)
        self._accounts = _Spent(PER_ACCOUNT)
        self._guessing = _Spent(WHILE_GUESSED)

    def begin(self, account: str, client: str) -> None:
        """Count a try as wrong, until `succeeded` or `not_tried`. Raises TooManyAttempts.

        Args:
            account: the name given, whether it exists or not.
            client: the caller's address; empty when it is not known, which all such callers share.
        """
        keys, now_s = _keys(account, client), self._monotonic()
        wait_s = max(
            self._pairs.wait_s(keys.pair, now_s),
            self._addresses.wait_s(keys.address, now_s),
            min(self._accounts.wait_s(keys.account, now_s), self._guessing.wait_s(keys.pair, now_s)),
        )
        if wait_s:
            raise _wait(wait_s)
        self._pairs.take(keys.pair, now_s)
        self._addresses.take(keys.address, now_s)
        self._accounts.take(keys.account, now_s)
        self._guessing.take(keys.pair, now_s)

    def succeeded(self, account: str, client: str) -> None:
        """The password was right: whoever is there has not guessed."""
        keys = _keys(account, client)
        self._pairs.forget(keys.pair)
        self._guessing.forget(keys.pair)
        self._addresses.give_back(keys.address)
        self._accounts.give_back(keys.account)

    def not_tried(self, account: str, client: str) -> None:
        """The password was not looked at after all."""
        keys = _keys(account, client)
        for spent, key in (
            (self._pairs, keys.pair),
            (self._guessing, keys.pair),
            (self._addresses, keys.address),
            (self._accounts, keys.account),
        ):
            spent.give_back(key)


def _wait(wait_s: float) -> TooManyAttempts:
    seconds = max(1, math.ceil(wait_s))
    error = TooManyAttempts(
        f"Too many wrong passwords. Try again in {seconds} s",
        hint="a session or a token goes on working: mlwright tokens create",
    )
    error.retry_after_s = seconds
    return error


def _keys(account: str, client: str) -> _Keys:
    """Keys of a fixed size: names and addresses come from strangers."""
    address = _network(client)
    return _Keys(_digest(f"{address} {account}"), _digest(address), _digest(account))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _network(client: str) -> str:
    """What one customer of a provider has: an address of IPv4, or a network of 2⁶⁴ addresses of IPv6."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return client
    return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address), 64), strict=False))
