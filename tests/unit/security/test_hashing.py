"""Passwords are hashed outside the transactions that store them."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.kernel.identity import Caller
from mlwright.security import secrets
from mlwright.security.passwords import MOST_WAITING
from mlwright.security.secrets import PasswordHash
from tests.unit.asgi import Answer, request

PASSWORD = "correct horse battery"
HASH = secrets.hash_password(PASSWORD)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(Settings(data=tmp_path))
    yield platform
    platform.close()


class SlowHash:
    """Stands still until told to go on, and counts who is in it at once."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.began = threading.Event()
        self.inside, self.most = 0, 0

    def __call__(self, password: str) -> PasswordHash:
        self.began.set()
        self.inside += 1
        self.most = max(self.most, self.inside)
        assert self.go_on.wait(30)
        self.inside -= 1
        return HASH


def person(number: int) -> bytes:
    return b'{"name": "p%d", "password": "%s"}' % (number, PASSWORD.encode())


def test_a_slow_hash_holds_up_no_writer(platform: Platform) -> None:
    app, slow = platform.router(), SlowHash()

    async def story() -> list[Answer]:
        made = asyncio.create_task(request(app, "POST", "/v1/principals", person(1)))
        changed = asyncio.create_task(request(app, "PATCH", "/v1/principals/p0", b'{"password": "another password"}'))
        assert await asyncio.to_thread(slow.began.wait, 30)
        written = await asyncio.wait_for(request(app, "POST", "/v1/projects", b'{"name": "vision"}'), 20)
        assert written.status == 201
        slow.go_on.set()
        return [await made, await changed]

    assert asyncio.run(request(app, "POST", "/v1/principals", person(0))).status == 201
    with patch.object(secrets, "hash_password", slow):
        answers = asyncio.run(story())
    assert [each.status for each in answers] == [201, 200]


def test_hashes_wait_for_each_other_and_not_without_end(platform: Platform) -> None:
    app, slow = platform.router(), SlowHash()

    async def story() -> list[Answer]:
        calls = [request(app, "POST", "/v1/principals", person(number)) for number in range(MOST_WAITING + 3)]
        tasks = [asyncio.create_task(each) for each in calls]
        assert await asyncio.to_thread(slow.began.wait, 30)
        slow.go_on.set()
        return list(await asyncio.gather(*tasks))

    with patch.object(secrets, "hash_password", slow):
        answers = asyncio.run(story())
    assert sorted(each.status for each in answers) == [201] * MOST_WAITING + [503] * 3
    assert slow.most == 1


def test_who_may_not_store_a_password_makes_nobody_hash_one(platform: Platform) -> None:
    app = platform.router()
    caller = Caller("ada")
    cases: list[tuple[str, str, Any]] = [
        ("POST", "/v1/principals", person(1)),
        ("PATCH", "/v1/principals/bob", b'{"password": "another password"}'),
    ]
    with patch.object(secrets, "hash_password", side_effect=AssertionError):
        for method, target, body in cases:
            assert asyncio.run(request(app, method, target, body, caller=caller)).status == 403
        short = b'{"name": "x", "password": "short"}'
        assert asyncio.run(request(app, "POST", "/v1/principals", short)).status == 400
