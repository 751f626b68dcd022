"""Notices of changes as server-sent events."""

import asyncio
from collections.abc import AsyncGenerator

from mlwright.kernel.changes import Changes
from mlwright.web.live import stream


async def collect(changes: Changes, topics: list[str], beat_s: float, count: int) -> list[str]:
    response = stream(changes, "run/1", beat_s=beat_s, pause_s=0.0)
    found = []
    pending = list(topics)
    async for part in response.body_iterator:
        found.append(str(part))
        if len(found) >= count:
            break
        if pending:
            asyncio.get_running_loop().call_later(0.01, changes.publish, [pending.pop(0)])
    assert isinstance(response.body_iterator, AsyncGenerator)
    await response.body_iterator.aclose()
    await asyncio.sleep(0)
    return found


def test_a_change_is_told() -> None:
    changes = Changes()
    found = asyncio.run(collect(changes, ["run/1"], 5.0, 2))
    assert found == ["retry: 2000\n\n", "event: changed\ndata: {}\n\n"]
    assert changes._waiting == {}, "whoever leaves must not be kept"


def test_other_topics_and_silence_only_beat() -> None:
    found = asyncio.run(collect(Changes(), ["run/2"], 0.05, 2))
    assert found[1].startswith(":")


async def until_closed(changes: Changes) -> int:
    response = stream(changes, "run/1", beat_s=60.0, pause_s=0.0)
    asyncio.get_running_loop().call_later(0.02, changes.close)
    return len([part async for part in response.body_iterator])


def test_a_stopping_server_ends_the_stream_at_once() -> None:
    assert asyncio.run(asyncio.wait_for(until_closed(Changes()), 5)) <= 2


def test_the_stream_is_not_cached() -> None:
    response = stream(Changes(), "x")
    assert response.media_type == "text/event-stream"
    assert response.headers["cache-control"] == "no-store"
