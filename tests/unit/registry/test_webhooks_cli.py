"""`mlwright webhooks`, and webhooks over our own API."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlwright.app.cli import cli
from mlwright.app.webhook_settings import from_environment
from mlwright.kernel.errors import Conflict, Invalid, NotFound, Unavailable
from mlwright.registry.webhooks.spec import WebhookSettings
from mlwright.security.sealing import Sealer
from tests.receiver import Answer, Receiver, receiving

Typed = Callable[..., Any]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def typed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.setenv("MLWRIGHT_DATA", str(data_dir))
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http,https")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")

    def run(*words: str, **named: Any) -> Any:
        return CliRunner().invoke(cli, ["webhooks", *words], **named)

    return run


def test_from_creation_to_deletion(typed: Typed, receiver: Receiver) -> None:
    created = typed("create", "ci", receiver.url, "--event", "model_version.created", "--secret-stdin", "-o", "json",
                    input="s3cret\n")  # fmt: skip
    found = json.loads(created.stdout)
    assert (found["signed"], found["status"], "s3cret" in created.stdout) == (True, "ACTIVE", False)
    assert "model_version.created" in typed("list").stdout
    assert json.loads(typed("show", found["id"], "-o", "json").stdout) == found
    assert "thanks" in typed("test", "ci").stdout
    assert receiver.next().event == "model_version.created"
    assert typed("test", "ci", "--event", "prompt.created").exit_code == 0
    assert receiver.next().event == "prompt.created"
    changed = json.loads(typed("update", "ci", "--name", "cd", "--disable", "--secret", "", "-o", "json").stdout)
    assert (changed["name"], changed["status"], changed["signed"]) == ("cd", "DISABLED", False)
    assert json.loads(typed("deliveries", "cd", "-o", "json").stdout) == []
    for words in (("retry", "cd", "nothing"), ("deliveries", "cd", "nothing")):
        assert isinstance(typed(*words).exception, NotFound)
    assert "cd deleted" in typed("delete", "cd").stderr
    assert typed("list", "-o", "name").stdout == ""


def test_mistakes(typed: Typed, receiver: Receiver) -> None:
    assert isinstance(typed("create", "ci", receiver.url).exception, Invalid)
    assert isinstance(typed("create", "ci", "ftp://e.org", "--event", "prompt.created").exception, Invalid)
    wrong = typed("create", "ci", receiver.url, "--event", "model.created").exception
    assert (type(wrong), "model_version.created" in wrong.hint) == (Invalid, True)
    twice = ("--secret", "a", "--secret-stdin")
    assert isinstance(typed("create", "ci", receiver.url, "--event", "prompt.created", *twice).exception, Invalid)
    assert isinstance(typed("show", "ci").exception, NotFound)
    for _ in range(2):
        assert typed("create", "ci", receiver.url, "--event", "prompt.created").exit_code == 0
    assert isinstance(typed("delete", "ci").exception, Conflict)
    receiver.answer = lambda _: Answer(500)
    first = json.loads(typed("list", "-o", "json").stdout)[0]["id"]
    failed = typed("test", first)
    assert (type(failed.exception), "500" in failed.stdout) == (Unavailable, True)


def test_settings() -> None:
    assert from_environment({}) == WebhookSettings()
    given = {
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "HTTP, https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "TRUE",
        "MLFLOW_WEBHOOK_REQUEST_TIMEOUT": "5",
        "MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_WEBHOOK_DELIVERY_MAX_WORKERS": "7",
    }
    assert from_environment(given) == WebhookSettings(("http", "https"), True, 5, 0, 7)
    for name, value in (
        ("ALLOWED_SCHEMES", "file"),
        ("ALLOW_PRIVATE_IPS", "maybe"),
        ("REQUEST_TIMEOUT", "0"),
        ("REQUEST_TIMEOUT", "1e3"),
        ("REQUEST_MAX_RETRIES", "-1"),
        ("DELIVERY_MAX_WORKERS", "9" * 30),
    ):
        with pytest.raises(Invalid) as caught:
            from_environment({f"MLFLOW_WEBHOOK_{name}": value})
        assert caught.value.path == f"MLFLOW_WEBHOOK_{name}"


def test_sealed_secrets(tmp_path: Path) -> None:
    path = tmp_path / "secrets.key"
    sealed = Sealer("", path).seal("s3cret")
    assert "s3cret" not in sealed
    assert Sealer("", path).open(sealed) == "s3cret"
    assert Sealer(path.read_text(), None).open(sealed) == "s3cret"
    with pytest.raises(Unavailable):
        Sealer("", tmp_path / "other.key").open(sealed)
    with pytest.raises(Invalid, match="no key"):
        Sealer("", None).seal("s3cret")
    with pytest.raises(Unavailable):
        Sealer("", None).open(sealed)
    with pytest.raises(Invalid, match="none"):
        Sealer("short", None).seal("s3cret")
