"""Server-sent events that say "something changed": the page then asks for what it shows."""

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

from mlwright.kernel.changes import Changes

#: Silence is broken this often, so that proxies keep the connection and a page without notices still refreshes.
BEAT_S = 15.0
#: Least time between two notices to one page.
PAUSE_S = 1.0
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def stream(changes: Changes, topic: str, *, beat_s: float = BEAT_S, pause_s: float = PAUSE_S) -> StreamingResponse:
    """An event stream with one `changed` event after each burst of changes of the topic."""
    return StreamingResponse(
        _notices(changes, topic, beat_s, pause_s), media_type="text/event-stream", headers=_HEADERS
    )


async def _notices(changes: Changes, topic: str, beat_s: float, pause_s: float) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    waiting = asyncio.ensure_future(changes.wait(topic, beat_s))
    try:
        while True:
            changed = await waiting
            if changes.closed:
                return
            # Listen again before the page reads, so that nothing between the two is missed.
            waiting = asyncio.ensure_future(changes.wait(topic, beat_s))
            await asyncio.sleep(0)
            yield "event: changed\ndata: {}\n\n" if changed else ": still here\n\n"
            await asyncio.sleep(pause_s)
    finally:
        waiting.cancel()
