"""An open stream of events ends when its caller's right does."""

import asyncio
import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlwright.app.events_api import EventsApi
from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.kernel.http import Router
from mlwright.kernel.identity import LOCAL, Caller
from mlwright.kernel.openapi import face
from mlwright.kernel.transaction import Tx
from mlwright.security import projects, service
from mlwright.security.authentication import Authentication
from mlwright.security.secrets import hash_password
from mlwright.security.spec import PrincipalKind

PASSWORD = "correct horse battery"
Verb = Callable[..., Any]


class Monotonic:
    """A clock in seconds that moves when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class World:
    """Two projects, a viewer of one, and what is sent to it."""

    def __init__(self, folder: Path) -> None:
        self.platform = Platform(Settings(data=folder, authentication=True))
        self.database = self.platform.database
        self.monotonic = Monotonic()
        operations = EventsApi(self.database, self.monotonic).operations()
        described = face(operations, "0")
        self.app = Router([described], described)
        self.token = self.database.write_now(self._people)
        self.received = b""
        self.arrived = asyncio.Event()

    def _people(self, tx: Tx) -> Any:
        for name in ("vision", "speech"):
            projects.create(tx, LOCAL, self.platform.project, name)
        service.create_principal(tx, LOCAL, "ada", PrincipalKind.USER, hash_password(PASSWORD))
        service.create_principal(tx, LOCAL, "root", PrincipalKind.USER, None, admin=True)
        service.grant(tx, LOCAL, "vision", "ada", "viewer")
        return service.create_token(tx, LOCAL, "ada", "", None)

    def do(self, verb: Verb, *arguments: Any, **named: Any) -> None:
        """A change by an administrator."""
        self.database.write_now(lambda tx: verb(tx, LOCAL, *arguments, **named))

    async def stream(self, headers: list[tuple[bytes, bytes]], caller: Caller) -> None:
        """Receive until the server ends it."""
        scope: dict[str, Any] = {
            "type": "http", "method": "GET", "path": "/v1/events", "query_string": b"", "root_path": "",
            "headers": [(b"accept", b"text/event-stream"), *headers], "caller": caller, "scheme": "http",
            "server": ("x", 1), "http_version": "1.1",
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            return {}

        async def send(message: Any) -> None:
            self.received += message.get("body", b"")
            self.arrived.set()

        await self.app(scope, receive, send)

    async def until(self, seen: bytes) -> None:
        while seen not in self.received:
            self.arrived.clear()
            await asyncio.wait_for(self.arrived.wait(), 20)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.platform.close()


def basic(password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"ada:{password}".encode())


def ends_after(world: World, header: bytes, change: Callable[[], None]) -> bytes:
    """What a stream of ada's receives: all is well, then the change, then an event that she must not see."""

    async def story() -> None:
        headers = [(b"authorization", header)]
        caller = await Authentication(world.database, "local")(dict(headers))
        stream = asyncio.create_task(world.stream(headers, caller))
        await world.until(b"project/vision")
        world.monotonic.now += 3
        world.do(service.grant, "vision", "root", "editor")
        await world.until(b'"role":"editor"')
        change()
        world.monotonic.now += 3
        world.do(service.grant, "vision", "root", "admin")
        await asyncio.wait_for(stream, 20)

    asyncio.run(story())
    return world.received


def test_a_revoked_token_ends_it(world: World) -> None:
    got = ends_after(
        world, b"Bearer " + world.token.secret.encode(), lambda: world.do(service.revoke_token, world.token.id)
    )
    assert b'"role":"admin"' not in got


def test_a_disabled_account_ends_it(world: World) -> None:
    got = ends_after(world, basic(PASSWORD), lambda: world.do(service.change_principal, "ada", active=False))
    assert b'"role":"admin"' not in got


def test_another_password_ends_what_the_old_one_began(world: World) -> None:
    new = hash_password("another password")
    got = ends_after(world, basic(PASSWORD), lambda: world.do(service.change_principal, "ada", password=new))
    assert b'"role":"admin"' not in got


@pytest.mark.parametrize("secret", ["token", "token as password"])
def test_a_role_that_is_gone_ends_it(world: World, secret: str) -> None:
    token = world.token.secret
    header = b"Bearer " + token.encode() if secret == "token" else basic(token)
    got = ends_after(world, header, lambda: world.do(service.revoke, "vision", "ada"))
    assert b'"role":"admin"' not in got


def test_it_ends_in_silence_too(world: World) -> None:
    async def story() -> None:
        headers = [(b"authorization", b"Bearer " + world.token.secret.encode())]
        caller = await Authentication(world.database, "local")(dict(headers))
        stream = asyncio.create_task(world.stream(headers, caller))
        await world.until(b"project/vision")
        world.do(service.revoke_token, world.token.id)
        world.monotonic.now += 3
        await asyncio.wait_for(stream, 20)

    asyncio.run(story())


def test_a_new_role_shows_more_and_a_lesser_one_does_not_end_it(world: World) -> None:
    async def story() -> None:
        headers = [(b"authorization", b"Bearer " + world.token.secret.encode())]
        caller = await Authentication(world.database, "local")(dict(headers))
        stream = asyncio.create_task(world.stream(headers, caller))
        await world.until(b"project/vision")
        assert b'"project":"speech"' not in world.received
        world.do(service.grant, "speech", "ada", "editor")
        world.monotonic.now += 3
        world.do(service.grant, "speech", "ada", "viewer")
        await world.until(b'"after":{"role":"viewer"},"before":{"role":"editor"}')
        world.monotonic.now += 3
        world.do(service.grant, "speech", "root", "viewer")
        await world.until(b'"subject":"principal/root"')
        assert not stream.done()
        world.database.changes.close()
        await asyncio.wait_for(stream, 20)

    asyncio.run(story())


def test_the_owner_of_the_directory_stays(world: World) -> None:
    async def story() -> None:
        stream = asyncio.create_task(world.stream([], LOCAL))
        await world.until(b"project/vision")
        world.monotonic.now += 100
        world.do(projects.create, world.platform.project, "late")
        await world.until(b"project/late")
        assert not stream.done()
        world.database.changes.close()
        await asyncio.wait_for(stream, 20)

    asyncio.run(story())
    numbers = [int(each) for each in re.findall(rb"^id: (\d+)$", world.received, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
