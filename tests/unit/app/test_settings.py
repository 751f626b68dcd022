"""Settings: defaults, addresses, and what is remembered."""

from pathlib import Path

import pytest

from mlwright.app.settings import Settings, default_data_dir, is_loopback, load, save
from mlwright.kernel.errors import MlwrightError


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data=tmp_path)
    assert settings.database_url == f"sqlite:///{tmp_path}/mlwright.db"
    assert (settings.url, settings.loopback, settings.authentication) == ("http://127.0.0.1:5000", True, False)
    monkeypatch.setenv("MLWRIGHT_DATA", str(tmp_path))
    assert default_data_dir() == tmp_path
    monkeypatch.delenv("MLWRIGHT_DATA")
    assert default_data_dir() == Path.home() / ".mlwright"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:5000"), ("::", "http://127.0.0.1:5000"), ("::1", "http://[::1]:5000"),
        ("ml.example", "http://ml.example:5000"),
    ],
)  # fmt: skip
def test_the_url_is_one_that_can_be_opened(host: str, url: str, tmp_path: Path) -> None:
    assert Settings(data=tmp_path, host=host).url == url


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.255.0.1", True), ("::1", True), ("0.0.0.0", False),
        ("::", False), ("10.0.0.1", False), ("example.com", False), ("", False), ("localhost.example", False),
    ],
)  # fmt: skip
def test_what_only_this_machine_can_reach(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_where_data_lies_is_remembered_for_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, database="postgresql://me:secret@db/x", artifacts="s3://bucket/x", port=7000)
    save(settings)
    file = tmp_path / "settings.json"
    assert file.stat().st_mode & 0o777 == 0o600
    found = load(tmp_path)
    assert (found.database, found.artifacts, found.port) == (settings.database, settings.artifacts, 5000)
    assert load(tmp_path / "none").database_url == f"sqlite:///{tmp_path}/none/mlwright.db"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"data": 5}'])
def test_damaged_settings_are_explained(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "settings.json").write_bytes(text)
    with pytest.raises(MlwrightError) as caught:
        load(tmp_path)
    assert str(tmp_path / "settings.json") in caught.value.path
