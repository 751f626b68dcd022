"""`mlwright models sign`, `verify`, `download` and `mlwright keys`, as somebody types them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import update

from mlwright.app.cli import cli
from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.artifacts.tables import artifact_contents
from mlwright.kernel.errors import AlreadyExists, Conflict, Invalid, NotFound, Untrusted
from mlwright.kernel.query import Query
from tests.unit.registry.registered import FILES, MLFLOW, Registered

Typed = Callable[..., Any]


@pytest.fixture
def typed(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Runs a command in an empty folder, with a data directory that has the version tree/1."""
    monkeypatch.setenv("MLWRIGHT_DATA", str(data_dir))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    platform = Platform(Settings(data=data_dir))
    Registered(platform).register()
    platform.close()

    def run(*words: str, **options: Any) -> Any:
        return CliRunner().invoke(cli, words, catch_exceptions=True, **options)

    return run


def write_model(folder: Path) -> Path:
    for path, content in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def the_blob(data_dir: Path) -> Path:
    """The only file that is too large for the database."""
    (found,) = [path for path in (data_dir / "blobs" / "sha256").rglob("*") if path.is_file()]
    return found


def test_from_a_key_to_a_verified_download(typed: Typed, data_dir: Path) -> None:
    assert typed("models", "verify", "tree/1").exit_code == 1
    assert "ci added" in typed("keys", "create", "ci").stdout
    assert Path("ci.pem").stat().st_mode & 0o777 == 0o600
    write_model(Path("good"))
    assert typed("models", "sign", "tree/1", "--key", "ci.pem", "--compare", "good", "-o", "name").stdout == "ci\n"
    found = json.loads(typed("models", "verify", "tree/1", "--key", "ci.pub.pem", "-o", "json").stdout)
    assert (found["trusted"], found["files"], found["signatures"][0]["key"]) == (True, 2, "ci")
    assert typed("models", "download", "tree/1", "got", "--key", "ci.pub.pem").stdout == "got\n"
    assert {path: (Path("got") / path).read_bytes() for path in FILES} == FILES
    assert typed("models", "verify", "got", "--key", "ci.pub.pem").exit_code == 0  # its signature came with it
    assert isinstance(typed("models", "download", "tree/1", "got").exception, AlreadyExists)

    blob = the_blob(data_dir)
    content = bytearray(blob.read_bytes())
    content[50_000] ^= 1
    blob.write_bytes(content)
    verified = typed("models", "verify", "tree/1")
    assert verified.exit_code == 1
    assert "data/big.bin: its bytes are not those that were registered" in verified.stdout
    assert isinstance(typed("models", "download", "tree/1", "evil").exception, Untrusted)
    assert sorted(path.name for path in Path().iterdir()) == ["ci.pem", "ci.pub.pem", "good", "got", "got.sig"]
    event = json.loads(typed("events", "--tail", "1", "-o", "json").stdout)[0]
    assert (event["type"], event["data"]["files"][0]["path"]) == ("registry.version.refused", "data/big.bin")
    blob.unlink()
    assert "its bytes are gone" in typed("models", "verify", "tree/1").stdout


def test_a_revoked_key_ends_downloads_by_us_and_by_mlflow(typed: Typed, data_dir: Path) -> None:
    typed("keys", "create", "ci")
    typed("models", "sign", "tree/1", "--key", "ci.pem")
    assert typed("keys", "retire", "ci").exit_code == 0
    assert isinstance(typed("models", "sign", "tree/1", "--key", "ci.pem").exception, Untrusted)
    assert typed("models", "download", "tree/1", "old").exit_code == 0
    assert isinstance(typed("delete", "signingkey", "ci").exception, Conflict)
    assert typed("keys", "revoke", "ci", "--reason", "stolen", "--at", "2020-01-31").exit_code == 0
    (key,) = json.loads(typed("keys", "list", "-o", "json").stdout)
    assert (key["state"], key["reason"], key["ended"]) == ("revoked", "stolen", "2020-01-31T00:00:00+00:00")
    assert typed("models", "verify", "tree/1").exit_code == 1
    assert isinstance(typed("models", "download", "tree/1", "new").exception, Untrusted)
    platform = Platform(Settings(data=data_dir))
    where = f"{MLFLOW}/model-versions/get-download-uri?name=tree&version=1"
    answer = Registered.__new__(Registered)
    answer.app = platform.router()
    refused = answer.ask("GET", where)
    platform.close()
    assert (refused.status, "'ci' was revoked: stolen" in refused.json["message"]) == (400, True)


def test_mlflow_is_not_led_to_changed_bytes(typed: Typed, data_dir: Path) -> None:
    where, blob = f"{MLFLOW}/model-versions/get-download-uri?name=tree&version=1", the_blob(data_dir)
    content = blob.read_bytes()
    platform = Platform(Settings(data=data_dir))
    client = Registered.__new__(Registered)
    client.app = platform.router()
    assert client.ask("GET", where).status == 200
    blob.write_bytes(b"y" + content[1:])
    refused = client.ask("GET", where)
    said = "data/big.bin: its bytes are not those that were registered"
    assert (refused.status, said in refused.json["message"]) == (400, True)
    blob.write_bytes(content)
    assert client.ask("GET", where).status == 200
    platform.database.write_now(
        lambda tx: tx.run(Query(update(artifact_contents).values(data=b"flavors: {}"))),
    )
    assert "MLmodel: its bytes" in client.ask("GET", where).json["message"]
    platform.close()
    event = json.loads(typed("events", "--tail", "1", "-o", "json").stdout)[0]
    assert (event["type"], event["data"]["files"][0]["path"]) == ("registry.version.refused", "MLmodel")


def test_only_what_one_knows_is_signed(typed: Typed) -> None:
    typed("keys", "create", "ci")
    (write_model(Path("other")) / "MLmodel").write_text("flavors: {evil: {}}")
    refused = typed("models", "sign", "tree/1", "--key", "ci.pem", "--compare", "other")
    assert "MLmodel (changed)" in refused.exception.message
    assert json.loads(typed("models", "verify", "tree/1", "-o", "json").stdout)["signatures"] == []


def test_keys_with_passwords(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(Path("m"))
    assert typed("keys", "create", "ci", "--no-add", "--password", input="secret\nsecret\n").exit_code == 0
    assert typed("models", "sign", "m", "--key", "ci.pem", input="secret\n").exit_code == 0
    assert isinstance(typed("models", "sign", "m", "--key", "ci.pem", input="wrong\n").exception, Invalid)
    monkeypatch.setenv("MLWRIGHT_KEY_PASSWORD", "secret")
    assert typed("models", "sign", "m", "--key", "ci.pem", "-o", "name").stdout == "m.sig\n"
    assert isinstance(typed("keys", "create", "ci", "--no-add").exception, AlreadyExists)
    monkeypatch.setenv("MLWRIGHT_KEY_PASSWORD", "")
    assert isinstance(typed("keys", "create", "x", "--no-add", "--password").exception, Invalid)


def test_a_folder_needs_no_server(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlwright.app.cli._connect", None)
    write_model(Path("m"))
    typed("keys", "create", "a", "--no-add")
    typed("keys", "create", "b", "--no-add")
    assert typed("models", "sign", "m", "--key", "a.pem", "--signature", "m/own.sig").exit_code == 0
    inside = ("models", "verify", "m", "--signature", "m/own.sig")
    assert typed(*inside, "--key", "b.pub.pem", "--key", "a.pub.pem").exit_code == 0
    other = typed(*inside, "--key", "b.pub.pem", "-o", "json")
    assert (other.exit_code, "another key" in json.loads(other.stdout)["reason"]) == (1, True)
    Path("m/new").write_text("")
    assert "new: added" in typed(*inside, "--key", "a.pub.pem").stdout


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("verify", "nothing", "--key", "k"), Invalid),  # 2: it could not be found out
        (("verify", "tree/9"), Invalid),
        (("verify", "m"), Invalid),
        (("verify", "m", "--key", "m/MLmodel", "--signature", "none"), Invalid),
        (("sign", "m"), Invalid),
        (("sign", "tree/1"), Invalid),
        (("sign", "tree/1", "--key", "none.pem"), NotFound),
        (("sign", "tree/1", "--key", "m/MLmodel"), Invalid),
        (("sign", "tree/1", "--signature", "m/MLmodel"), Untrusted),
        (("download", "tree", "x"), Invalid),
        (("download", "tree/1", "x", "--key", "m/MLmodel"), Untrusted),
    ],
)
def test_what_cannot_be(typed: Typed, words: tuple[str, ...], error: type[Exception]) -> None:
    write_model(Path("m"))
    assert isinstance(typed("models", *words).exception, error)
    assert [path.name for path in Path().iterdir()] == ["m"]


@pytest.mark.component
def test_signatures_of_the_reference_implementation(typed: Typed, model_signing: Path) -> None:
    """It signs the folder, we take that for the version; and it verifies what was downloaded."""
    write_model(Path("m"))
    typed("keys", "create", "ci")

    def run(*words: str) -> int:
        return subprocess.run([str(model_signing), *words], capture_output=True).returncode

    assert run("sign", "key", "m", "--signature", "ref.sig", "--private_key", "ci.pem") == 0
    assert typed("models", "sign", "tree/1", "--signature", "ref.sig").exit_code == 0
    assert typed("models", "verify", "tree/1", "--key", "ci.pub.pem").exit_code == 0
    assert typed("models", "sign", "tree/1", "--key", "ci.pem").exit_code == 0
    assert typed("models", "download", "tree/1", "got").exit_code == 0
    assert run("verify", "key", "got", "--signature", "got.sig", "--public_key", "ci.pub.pem") == 0
