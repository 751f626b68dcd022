"""The event log over REST: as a list, as a live stream, and verified."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mlwright.kernel import events
from mlwright.kernel.changes import EVENTS
from mlwright.kernel.database import Database
from mlwright.kernel.events import Event, Verdict
from mlwright.kernel.http import caller_of, integer, is_number, json_response
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.openapi import Operation, Parameter

_TAG = "events"
_PAGE = 500
#: Another server on the same database may write: look again this often even when nothing was heard, in seconds.
_LOOK_AGAIN_S = 2.0
#: A comment line keeps proxies from closing a silent stream, in seconds.
_KEEP_ALIVE_S = 15.0
_MAX_SEQ = 2**62
_FROM = Parameter("from", {"type": "integer", "minimum": 0}, "Only events with a higher sequence number.")
_LIMIT = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "At most so many.")

_EXPECT = Parameter("expect", {"type": "string"}, "Hash of an event noted before, which the log must still contain.")


class EventsApi:
    """Handlers. A caller sees the events of projects it may view; those of the server itself are for administrators."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
            return StreamingResponse(self._stream(caller, after), headers=headers, media_type="text/event-stream")
        limit = integer(request, "limit", _PAGE, 1, 1000)
        found = await self._visible(caller, after, limit)
        return json_response(found[0])

    async def verify(self, request: Request) -> Response:
        caller_of(request).require_server_admin()
        expect = request.query_params.get("expect", "")
        return json_response(await self._database.read(lambda tx: events.verify(tx, expect)))

    async def _visible(self, caller: Caller, after: int, limit: int) -> tuple[list[Event], int]:
        """Events the caller may see, and the sequence number up to which the log was read."""
        found: list[Event] = []
        while len(found) < limit:
            page = await self._database.read(lambda tx, after=after: events.read(tx, after, _PAGE))  # type: ignore[misc]
            if not page:
                break
            for event in page:
                after = event.seq
                if caller.may(event.project, Role.VIEWER):
                    found.append(event)
                    if len(found) == limit:
                        break
        return found, after

    async def _stream(self, caller: Caller, after: int) -> AsyncIterator[bytes]:
        silent_s = 0.0
        while not self._database.changes.closed:
            heard = asyncio.create_task(self._database.changes.wait(EVENTS, _LOOK_AGAIN_S))
            try:
                page, after = await self._visible(caller, after, _PAGE)
                for event in page:
                    yield b"id: %d\nevent: %s\ndata: %s\n\n" % (
                        event.seq,
                        event.type.encode(),
                        msgspec.json.encode(event),
                    )
                silent_s = 0.0 if page else silent_s + _LOOK_AGAIN_S
                if silent_s >= _KEEP_ALIVE_S:
                    silent_s = 0.0
                    yield b": still here\n\n"
                if len(page) < _PAGE:
                    await heard
            finally:
                heard.cancel()


def integer_header(request: Request, name: str) -> int:
    """A whole number from a header; 0 when it is missing or none."""
    text = request.headers.get(name, "")
    return int(text) if is_number(text) else 0
