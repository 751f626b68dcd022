"""Commands without a server: one platform for all requests of a command, bytes in pieces both ways."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlwright.app.local import LocalTransport
from mlwright.app.process import ServerLock
from mlwright.app.settings import Settings
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Conflict, MlwrightError, NotFound, Unavailable


@pytest.fixture
def transport(data_dir: Path) -> Iterator[LocalTransport]:
    transport = LocalTransport(Settings(data=data_dir))
    yield transport
    transport.close()


def test_a_body_is_taken_and_given_in_pieces(transport: LocalTransport) -> None:
    client, taken = Client(transport), []

    def pieces() -> Iterator[bytes]:
        for number in range(40):
            taken.append(number)
            yield bytes([number]) * 100_000

    run_id = client.post("/v1/runs", {"experiment_id": 0})["run_id"]
    stored = client.upload(f"/v1/runs/{run_id}/artifacts/big", pieces())
    assert (stored["size"], len(taken)) == (4_000_000, 40)
    found = client.download(f"/v1/runs/{run_id}/artifacts/big")
    first = next(found)
    assert 0 < len(first) < 4_000_000
    assert client.get("/v1/me")["name"] == "local"  # another request while a download is open
    assert len(first) + sum(len(piece) for piece in found) == 4_000_000


def test_the_directory_is_held_until_the_end(transport: LocalTransport, data_dir: Path) -> None:
    Client(transport).get("/v1/me")
    with pytest.raises(Conflict):
        ServerLock(data_dir)
    transport.close()
    ServerLock(data_dir).release()


def test_errors_come_as_what_they_are(transport: LocalTransport) -> None:
    client = Client(transport)
    with pytest.raises(NotFound, match="none"):
        client.get("/v1/runs/none")
    with pytest.raises(NotFound):
        client.download("/v1/runs/none/artifacts/x")
    with pytest.raises(Unavailable, match="running server"):
        next(iter(client.stream("/v1/events")))


def test_a_body_that_fails_is_not_stored(transport: LocalTransport) -> None:
    client = Client(transport)
    run_id = client.post("/v1/runs", {"experiment_id": 0})["run_id"]

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise Unavailable("the source went away")

    with pytest.raises(MlwrightError, match="went away"):
        client.upload(f"/v1/runs/{run_id}/artifacts/x", broken())
    assert client.get(f"/v1/runs/{run_id}/artifacts") == []
