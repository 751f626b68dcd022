"""Who asked, and in which trace: ids of requests and predictions, and the W3C trace context.

https://www.w3.org/TR/trace-context/#traceparent-header
"""

import itertools
import re
import time
from collections.abc import Callable, Mapping
from random import getrandbits

import msgspec

REQUEST_ID = b"x-request-id"
PREDICTION_ID = b"x-prediction-id"
TRACEPARENT = b"traceparent"
#: What may be repeated in an answer and a log: visible ASCII, of a length that fits there.
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}\Z")
#: Later versions may add fields at the end; version ff is none.
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")
_ID = re.compile(r"[0-9a-f]{12}-[0-9a-f]{8}-[0-9a-f]{12}\Z")
_NOTHING = (b"0" * 32, b"0" * 16)


def _hexadecimal(count: int) -> str:
    """Unique is enough: these are no secrets."""
    return f"{getrandbits(8 * count):0{2 * count}x}"


class Trace(msgspec.Struct, frozen=True, gc=False):
    """A trace that goes on here. `parent` is the caller's span, `span` ours."""

    trace: bytes
    parent: bytes
    span: bytes
    flags: bytes

    @property
    def header(self) -> bytes:
        """As `traceparent`, for whoever comes after us."""
        return b"00-%s-%s-%s" % (self.trace, self.span, self.flags)


class Ids(msgspec.Struct, frozen=True, gc=False):
    """What a request is called.

    Attributes:
        prediction: unique among all hosts, begins with its time.
        request: the caller's, or the prediction's.
        trace: None where the caller has none.
    """

    prediction: bytes
    request: bytes
    trace: Trace | None

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the answer says of them."""
        found = [(REQUEST_ID, self.request), (PREDICTION_ID, self.prediction)]
        if self.trace is not None:
            found.append((TRACEPARENT, self.trace.header))
        return found


class Naming:
    """Gives names to requests.

    Args:
        now_ms: milliseconds since 1970.
        random: gives so many random bytes as hexadecimal digits; the first six say which host it is.
    """

    def __init__(
        self,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        random: Callable[[int], str] = _hexadecimal,
    ) -> None:
        self._now_ms = now_ms
        self._random = random
        self._host = random(6).encode()
        self._numbers = itertools.count()

    def ids(self, headers: Mapping[bytes, bytes]) -> Ids:
        """Names for the request with these headers."""
        prediction = b"%012x-%08x-%s" % (self._now_ms(), next(self._numbers) & 0xFFFFFFFF, self._host)
        request = headers.get(REQUEST_ID)
        if request is None or not _REQUEST_ID.match(request):
            request = prediction
        given = headers.get(TRACEPARENT)
        return Ids(prediction, request, continued(given, self._random) if given is not None else None)


def continued(given: bytes, random: Callable[[int], str] = _hexadecimal) -> Trace | None:
    """The trace of a `traceparent`, with a new span; None for what is none, as the standard wants it."""
    found = _TRACEPARENT.match(given)
    if found is None:
        return None
    version, trace, parent, flags, rest = found.groups()
    if trace == _NOTHING[0] or parent == _NOTHING[1] or (version == b"00" and rest is not None):
        return None
    # Of the flags only "sampled" is defined in the version that we speak.
    return Trace(trace, parent, random(8).encode(), b"01" if int(flags, 16) & 1 else b"00")


def made_ms(prediction: str) -> int | None:
    """When the prediction with that id was asked for; None for what is no such id."""
    return int(prediction[:12], 16) if _ID.match(prediction) else None
