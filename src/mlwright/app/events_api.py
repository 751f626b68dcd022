"""The event log over REST: as a list, as a live stream, and verified."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mlwright.kernel import events
from mlwright.kernel.changes import EVENTS
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Unauthenticated
from mlwright.kernel.events import Event, Verdict
from mlwright.kernel.http import caller_of, integer, is_number, json_response
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.security.authentication import Renewal

_TAG = "events"
_PAGE = 500
#: Another server on the same database may write, or the caller's rights may end: look again this often even when
#: nothing was heard, in seconds.
_LOOK_AGAIN_S = 2.0
#: A comment line keeps proxies from closing a silent stream, in seconds.
_KEEP_ALIVE_S = 15.0
_MAX_SEQ = 2**62
_FROM = Parameter("from", {"type": "integer", "minimum": 0}, "Only events with a higher sequence number.")
_LIMIT = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "At most so many.")

_EXPECT = Parameter("expect", {"type": "string"}, "Hash of an event noted before, which the log must still contain.")


class EventsApi:
    """Handlers. A caller sees the events of projects it may view; those of the server itself are for administrators.

    Args:
        database: where the log is.
        monotonic: a clock in seconds.
    """

    def __init__(self, database: Database, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._monotonic = monotonic

    def operations(self) -> list[Operation]:
        return [
            Operation(
                "GET",
                "/v1/events",
                self.list_or_stream,
                "Events, oldest first; a stream of server-sent events with Accept: text/event-stream.",
                _TAG,
                None,
                list[Event],
                (_FROM, _LIMIT),
            ),
            Operation(
                "GET",
                "/v1/audit",
                self.verify,
                "Verify the hash chain of the whole log.",
                _TAG,
                None,
                Verdict,
                (_EXPECT,),
            ),
        ]

    async def list_or_stream(self, request: Request) -> Response:
        caller, after = caller_of(request), integer(request, "from", 0, 0, _MAX_SEQ)
        if "text/event-stream" in request.headers.get("accept", ""):
            after = max(after, integer_header(request, "last-event-id"))
            headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
            secure = request.url.scheme == "https"
            renew = Renewal(self._database, dict(request.headers.raw), caller, secure=secure)
            stream = self._stream(_Rights(caller, renew, self._monotonic), after)
            return StreamingResponse(stream, headers=headers, media_type="text/event-stream")
        limit = integer(request, "limit", _PAGE, 1, 1000)
        return json_response(await self._visible(caller, after, limit))

    async def verify(self, request: Request) -> Response:
        caller_of(request).require_server_admin()
        expect = request.query_params.get("expect", "")
        return json_response(await self._database.read(lambda tx: events.verify(tx, expect)))

    async def _visible(self, caller: Caller, after: int, limit: int) -> list[Event]:
        """The next events that the caller may see."""
        found: list[Event] = []
        while len(found) < limit:
            page = await self._page(after)
            found += [event for event in page if caller.may(event.project, Role.VIEWER)][: limit - len(found)]
            if len(page) < _PAGE:
                break
            after = page[-1].seq
        return found

    async def _stream(self, rights: "_Rights", after: int) -> AsyncIterator[bytes]:
        silent_s = 0.0
        while not self._database.changes.closed:
            heard = asyncio.create_task(self._database.changes.wait(EVENTS, _LOOK_AGAIN_S))
            try:
                page = await self._page(after)
                silent_s += _LOOK_AGAIN_S
                for event in page:
                    caller = await rights.now()
                    if caller is None:
                        return
                    after = event.seq
                    if caller.may(event.project, Role.VIEWER):
                        silent_s = 0.0
                        yield _as_text(event)
                if silent_s >= _KEEP_ALIVE_S:
                    silent_s = 0.0
                    yield b": still here\n\n"
                if len(page) < _PAGE:
                    await heard
                if await rights.now() is None:
                    return
            finally:
                heard.cancel()

    async def _page(self, after: int) -> list[Event]:
        return await self._database.read(lambda tx: events.read(tx, after, _PAGE))


class _Rights:
    """What the caller of a stream may see, looked up again every few seconds.

    Args:
        caller: who opened the stream.
        renew: finds the caller anew.
        monotonic: a clock in seconds.
    """

    def __init__(self, caller: Caller, renew: Renewal, monotonic: Callable[[], float]) -> None:
        self._caller = caller
        self._renew = renew
        self._monotonic = monotonic
        self._due_s = monotonic()

    async def now(self) -> Caller | None:
        """The caller; None once it is no caller any more, or may not see what it saw before."""
        if self._monotonic() < self._due_s:
            return self._caller
        self._due_s = self._monotonic() + _LOOK_AGAIN_S
        before = self._caller
        try:
            self._caller = await self._renew()
        except Unauthenticated:
            return None
        lost = any(not self._caller.may(project, Role.VIEWER) for project in before.roles)
        return None if lost or self._caller.everywhere < before.everywhere else self._caller


def _as_text(event: Event) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), msgspec.json.encode(event))


def integer_header(request: Request, name: str) -> int:
    """A whole number from a header; 0 when it is missing or none."""
    text = request.headers.get(name, "")
    return int(text) if is_number(text) else 0
