"""The thread that tells webhooks: nobody waits for the slow, and what was broken off is told again."""

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.registry.webhooks.delivery import WebhookRunner
from tests.receiver import Answer, Receiver, Told, receiving
from tests.unit.registry.registered import Registered


class AtOnce(random.Random):
    """Retries without pauses."""

    def uniform(self, a: float, b: float) -> float:
        return 0.0


class Telling(Registered):
    """A platform that tells webhooks."""

    def __init__(self, data: Path) -> None:
        super().__init__(Platform(Settings(data=data)))
        self.start()

    def start(self) -> None:
        known = self.platform.webhooks
        known._retries = known._retries._replace(random=AtOnce())
        known.start()

    def v1(self, method: str, path: str, body: object = None) -> Any:
        answer = self.ask(method, f"/v1/webhooks{path}", json.dumps(body).encode() if body is not None else b"")
        assert answer.status < 300, answer.body
        return answer.json if answer.body else None

    def webhook(self, url: str, **named: Any) -> str:
        body = {"name": "ci", "url": url, "events": ["registered_model.created"], **named}
        found: str = self.v1("POST", "", body)["id"]
        return found

    def model(self, name: str) -> None:
        self.post("registered-models/create", {"name": name})

    def states(self, webhook: str) -> list[tuple[str, int]]:
        return [(each["state"], each["attempts"]) for each in self.v1("GET", f"/{webhook}/deliveries")]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def telling(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telling]:
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    monkeypatch.setenv("MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES", "3")
    found = Telling(data_dir)
    try:
        yield found
    finally:
        found.platform.close()


def wait_for(receiver: Receiver, *names: str) -> list[Told]:
    found = receiver.all(len(names))
    assert [each.json["data"]["name"] for each in found] == list(names)
    return found


def test_in_order_and_with_the_same_id_until_it_is_taken(telling: Telling, receiver: Receiver) -> None:
    statuses = iter([503, 429, 200])
    receiver.answer = lambda _: Answer(next(statuses, 200))
    webhook = telling.webhook(receiver.url)
    for name in "abc":
        telling.model(name)
    found = wait_for(receiver, "a", "a", "a", "b", "c")
    assert len({each.headers["x-mlflow-delivery-id"] for each in found[:3]}) == 1
    assert telling.states(webhook)[1:] == [("delivered", 1), ("delivered", 3)]


def test_after_the_last_attempt_it_goes_on_with_the_next(telling: Telling, receiver: Receiver) -> None:
    receiver.answer = lambda told: Answer(500 if told.json["data"]["name"] == "a" else 200)
    webhook = telling.webhook(receiver.url)
    telling.model("a")
    telling.model("b")
    wait_for(receiver, "a", "a", "a", "a", "b")
    assert telling.states(webhook)[1] == ("failed", 4)


def test_who_is_slow_holds_up_nobody_else(telling: Telling, receiver: Receiver) -> None:
    release = threading.Event()

    def answer(told: Told) -> Answer:
        if told.path.startswith("/slow"):
            release.wait(30)
        return Answer()

    receiver.answer = answer
    for number in range(12):
        telling.webhook(f"{receiver.url}/slow{number}")
    telling.webhook(f"{receiver.url}/quick")
    telling.model("a")
    telling.model("b")
    try:
        assert [each.path for each in receiver.all(2)] == ["/quick", "/quick"]
    finally:
        release.set()


def test_what_was_broken_off_is_told_again(telling: Telling, receiver: Receiver) -> None:
    held, release = threading.Event(), threading.Event()

    def answer(told: Told) -> Answer:
        held.set()
        release.wait(30)
        return Answer()

    receiver.answer = answer
    webhook = telling.webhook(receiver.url)
    telling.model("a")
    assert held.wait(20)
    telling.platform.webhooks.close()
    assert telling.states(webhook) == [("waiting", 0)]
    release.set()
    platform = telling.platform
    platform.webhooks = WebhookRunner(platform.database, platform.webhooks._sender, platform.webhooks._sealer, AtOnce())
    telling.start()
    first, second = wait_for(receiver, "a", "a")
    assert first.headers["x-mlflow-delivery-id"] == second.headers["x-mlflow-delivery-id"]


def test_a_secret_that_cannot_be_read_signs_nothing(telling: Telling, receiver: Receiver, data_dir: Path) -> None:
    """Better told late than told unsigned."""
    webhook = telling.webhook(receiver.url, secret="s3cret")
    telling.v1("POST", f"/{webhook}/test", {})
    assert "x-mlflow-signature" in receiver.next().headers
    (data_dir / "secrets.key").unlink()
    del telling.platform.webhooks._sealer._cipher  # type: ignore[attr-defined]
    result = telling.v1("POST", f"/{webhook}/test", {})
    assert (result["success"], "another key" in result["problem"]) == (False, True)
    assert receiver.told.empty()


def test_nothing_of_a_secret_lies_in_the_database(telling: Telling, receiver: Receiver, data_dir: Path) -> None:
    telling.webhook(receiver.url, secret="very-secret-indeed")
    telling.model("a")
    wait_for(receiver, "a")
    telling.platform.close()
    for path in data_dir.iterdir():
        if path.is_file():
            assert b"very-secret-indeed" not in path.read_bytes(), path
    assert (data_dir / "secrets.key").stat().st_mode & 0o777 == 0o600
