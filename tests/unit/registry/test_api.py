"""Registered models over our own API and the command line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlwright.app.cli import cli
from mlwright.app.local import LocalTransport
from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Conflict, Immutable, Invalid, MlwrightError, NotFound
from tests.unit.registry.registered import Registered


@pytest.fixture
def filled(data_dir: Path) -> Path:
    """A data directory with three versions of "tree", the second of which is the champion."""
    platform = Platform(Settings(data=data_dir))
    registered = Registered(platform)
    for _ in range(3):
        registered.register()
    registered.post("registered-models/alias", {"name": "tree", "alias": "champion", "version": "2"})
    platform.close()
    return data_dir


@pytest.fixture
def client(filled: Path) -> Iterator[Client]:
    transport = LocalTransport(Settings(data=filled))
    yield Client(transport)
    transport.close()


def test_models_and_versions_are_found(client: Client) -> None:
    (model,) = client.get("/v1/models", filter="name LIKE 't%'")["items"]
    assert model == client.get("/v1/models/tree")
    assert (model["last_version"], model["aliases"]) == (3, {"champion": 2})
    page = client.get("/v1/models/tree/versions", limit=2)
    assert [each["version"] for each in page["items"]] == [3, 2]
    page = client.get("/v1/models/tree/versions", limit=2, page_token=page["next_token"])
    assert ([each["version"] for each in page["items"]], page["next_token"]) == ([1], "")
    version = client.get("/v1/models/tree/aliases/champion")
    assert version == client.get("/v1/models/tree/versions/2")
    assert (version["files"], version["aliases"]) == (2, ["champion"])
    assert version["digest"].startswith("sha256:")
    assert client.get("/v1/models", project="nowhere") == {"items": [], "next_token": ""}


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/v1/models/none", NotFound), ("/v1/models/none/versions", NotFound), ("/v1/models/tree/versions/9", NotFound),
        ("/v1/models/tree/versions/x", Invalid), ("/v1/models/tree/aliases/none", NotFound),
        ("/v1/models?filter=size", Invalid), ("/v1/models?limit=0", Invalid),
    ],
)  # fmt: skip
def test_what_is_not_there(client: Client, path: str, error: type[MlwrightError]) -> None:
    with pytest.raises(error):
        client.get(path)


def test_two_who_move_an_alias(client: Client) -> None:
    path = "/v1/models/tree/aliases/champion"
    assert client.put(path, {"version": 3, "expected": 2}) == {"alias": "champion", "version": 3}
    with pytest.raises(Conflict, match="leads to version 3"):
        client.put(path, {"version": 1, "expected": 2})
    assert client.put(path, {"version": 1})["version"] == 1
    with pytest.raises(Conflict):
        client.put(path, {"version": 2, "expected": None})
    client.delete(path)
    with pytest.raises(NotFound):
        client.delete(path)
    assert client.put(path, {"version": 2, "expected": None})["version"] == 2


def test_versions_and_models_are_deleted(client: Client) -> None:
    client.delete("/v1/models/tree/versions/2")
    assert client.get("/v1/models/tree")["aliases"] == {}
    client.delete("/v1/models/tree")
    assert client.get("/v1/models")["items"] == []


def test_that_it_is_immutable_reaches_the_client() -> None:
    assert issubclass(Immutable, Conflict)
    assert (Immutable.code, Immutable.status) == ("immutable", 409)


def test_the_command_line(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLWRIGHT_DATA", str(filled))

    def typed(*words: str) -> Any:
        return CliRunner().invoke(cli, words, catch_exceptions=True)

    assert typed("models", "list", "-o", "name").stdout == "tree\n"
    assert json.loads(typed("models", "show", "tree/3", "-o", "json").stdout)["version"] == 3
    assert json.loads(typed("models", "show", "tree@champion", "-o", "json").stdout)["version"] == 2
    assert json.loads(typed("models", "show", "tree", "-o", "json").stdout)["last_version"] == 3
    assert typed("models", "versions", "tree", "-o", "name").stdout == "3\n2\n1\n"
    assert json.loads(typed("models", "alias", "tree", "champion", "-o", "json").stdout)["version"] == 2
    assert isinstance(typed("models", "alias", "tree", "champion", "3", "--expected", "1").exception, Conflict)
    assert typed("models", "alias", "tree", "champion", "3", "--expected", "2").exit_code == 0
    assert typed("models", "alias", "tree", "new", "1", "--expected", "0", "--project", "default").exit_code == 0
    assert typed("models", "alias", "tree", "new", "--remove").exit_code == 0
    assert isinstance(typed("models", "delete", "tree@champion").exception, Invalid)
    assert typed("models", "delete", "tree/3").exit_code == 0
    assert typed("models", "versions", "tree", "-o", "name").stdout == "2\n1\n"
    assert typed("models", "delete", "tree", "--project", "default").exit_code == 0
    assert typed("models", "list", "-o", "name").stdout == ""


def test_a_bill_of_materials(filled: Path) -> None:
    found = CliRunner().invoke(cli, ["models", "sbom", "tree@champion", "--data", str(filled)])
    bill = json.loads(found.stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    subject = bill["metadata"]["component"]
    assert (subject["name"], subject["version"]) == ("tree", "2")
    assert [each["name"] for each in subject["components"]] == ["MLmodel", "data/big.bin"]
    for words, error in (("tree", Invalid), ("tree/9", NotFound)):
        assert isinstance(CliRunner().invoke(cli, ["models", "sbom", words, "--data", str(filled)]).exception, error)
