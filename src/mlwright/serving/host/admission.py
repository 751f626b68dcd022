"""Who may ask, how often, and until when."""

import hashlib
import math
from collections.abc import Mapping

from mlwright.kernel.errors import Denied, Invalid, Unauthenticated
from mlwright.serving.host.batching import TooManyRequests

TIMEOUT = b"x-request-timeout-ms"
_MOST_DIGITS = 9
#: Nobody is told to wait longer, however seldom they may ask.
_LONGEST_WAIT_S = 86_400.0


class TooOften(TooManyRequests):
    """A key asks more often than it may."""

    code = "rate_limited"
    title = "Rate limited"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("this key asks more often than it may")
        self.retry_after_s = retry_after_s


class Bucket:
    """A token bucket: `rate` tokens a second, up to one second's worth of them, but always room for one."""

    __slots__ = ("_at_s", "_tokens")

    def __init__(self, rate: float, now_s: float) -> None:
        self._tokens = max(rate, 1.0)
        self._at_s = now_s

    def take(self, rate: float, now_s: float) -> float:
        """Take a token: 0.0, or the seconds until there is one."""
        most = max(rate, 1.0)
        self._tokens = min(self._tokens + max(now_s - self._at_s, 0.0) * rate, most)
        self._at_s = max(now_s, self._at_s)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / rate


class Door:
    """The keys that open something, and how often each does.

    Args:
        keys: SHA-256 of each, by name. Without any, it is open, and all callers are one.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._names: dict[str, str] = {}
        self._buckets: dict[str, Bucket] = {}
        self.change(keys)

    def change(self, keys: Mapping[str, str]) -> None:
        """Take these keys from now on."""
        # Looked up by digest: how long that takes says nothing about a key.
        self._names = {digest: name for name, digest in keys.items()}
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if not keys or name in keys}

    def caller(self, headers: Mapping[bytes, bytes]) -> str:
        """The name of the caller's key. Raises Unauthenticated, Denied."""
        if not self._names:
            return ""
        given = headers.get(b"authorization", b"")
        key = given[7:] if given[:7].lower() == b"bearer " else headers.get(b"x-api-key", b"")
        if not key:
            raise Unauthenticated("this endpoint needs a key", hint="send it as Authorization: Bearer KEY")
        name = self._names.get(hashlib.sha256(key).hexdigest())
        if name is None:
            raise Denied("this key does not open the endpoint")
        return name

    def admits(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the caller may ask."""
        try:
            self.caller(headers)
        except (Unauthenticated, Denied):
            return False
        return True

    def count(self, caller: str, rate: float, now_s: float) -> None:
        """One more request of a caller who may send `rate` a second. Raises TooOften."""
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = Bucket(rate, now_s)
        wait_s = bucket.take(rate, now_s)
        if wait_s:
            raise TooOften(max(math.ceil(min(wait_s, _LONGEST_WAIT_S)), 1))


def timeout_s(headers: Mapping[bytes, bytes], most_ms: int) -> tuple[float, bool]:
    """How long the caller waits, in seconds, and whether that is less than the endpoint would take. Raises Invalid."""
    given = headers.get(TIMEOUT)
    if given is None:
        return most_ms / 1_000, False
    if not given.isdigit() or len(given) > _MOST_DIGITS or not int(given):
        raise Invalid(f"the header {TIMEOUT.decode()} is no number of milliseconds", path="headers")
    asked = int(given)
    return min(asked, most_ms) / 1_000, asked < most_ms
