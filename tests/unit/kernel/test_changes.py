"""Notices of changes wake who waits for them."""

import asyncio
import threading

from mlwright.kernel.changes import Changes


def test_a_notice_wakes_its_topic_only() -> None:
    async def run() -> list[bool]:
        changes = Changes()
        waiting = [asyncio.create_task(changes.wait(topic, 0.2)) for topic in ("a", "a", "b")]
        await asyncio.sleep(0)
        threading.Thread(target=changes.publish, args=[["a", "none"]]).start()
        return list(await asyncio.gather(*waiting))

    assert asyncio.run(run()) == [True, True, False]


def test_a_notice_before_waiting_is_not_remembered() -> None:
    async def run() -> bool:
        changes = Changes()
        changes.publish(["a"])
        return await changes.wait("a", 0.01)

    assert asyncio.run(run()) is False


def test_who_listens_before_reading_misses_nothing() -> None:
    changes, heard = Changes(), threading.Event()
    with changes.listening("a", heard.set):
        changes.publish(["b"])
        assert not heard.is_set()
        changes.publish(["a"])
        assert heard.is_set()
    heard.clear()
    changes.publish(["a"])
    assert not heard.is_set()
    assert changes._waiting == {}


def test_nothing_is_kept_of_those_who_left() -> None:
    async def run() -> Changes:
        changes = Changes()
        await changes.wait("a", 0)
        task = asyncio.create_task(changes.wait("b", 10))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return changes

    assert asyncio.run(run())._waiting == {}
