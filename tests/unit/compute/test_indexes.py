"""uv gets what pip was told, unless uv was told something itself."""

from pathlib import Path

import pytest

from mlwright.compute import indexes

CONFIGURATION = """
[global]
index-url = https://mirror.invalid/simple
find-links = /opt/wheels
    /opt/more
[install]
extra-index-url =
    https://one.invalid/simple
    https://two.invalid/simple
trusted-host = mirror.invalid
[list]
index-url = https://other.invalid
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """A home with settings of pip; no others are looked at."""
    (tmp_path / ".config" / "pip").mkdir(parents=True)
    (tmp_path / ".config" / "pip" / "pip.conf").write_text(CONFIGURATION)
    return {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "none"), "PATH": "/bin"}


def test_settings_of_pip(home: dict[str, str]) -> None:
    found = indexes.variables(home)
    assert found["UV_DEFAULT_INDEX"] == "https://mirror.invalid/simple"
    assert found["UV_INDEX"] == "https://one.invalid/simple https://two.invalid/simple"
    assert found["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert found["UV_FIND_LINKS"] == "/opt/wheels,/opt/more"
    assert found["UV_INSECURE_HOST"] == "mirror.invalid"


def test_variables_of_pip_are_above_its_files_and_those_of_uv_above_both(home: dict[str, str]) -> None:
    found = indexes.variables({**home, "PIP_INDEX_URL": "https://said.invalid", "PIP_NO_INDEX": "true"})
    assert (found["UV_DEFAULT_INDEX"], found["UV_NO_INDEX"]) == ("https://said.invalid", "1")
    found = indexes.variables({**home, "UV_DEFAULT_INDEX": "https://uv.invalid", "UV_INDEX_STRATEGY": "first-index"})
    assert (found["UV_DEFAULT_INDEX"], found["UV_INDEX_STRATEGY"]) == ("https://uv.invalid", "first-index")
    assert "UV_DEFAULT_INDEX" not in indexes.variables({**home, "UV_INDEX_URL": "https://old.invalid"})


def test_a_file_that_is_named_is_above_the_others(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "own.conf").write_text("[global]\nindex-url = https://own.invalid\n")
    found = indexes.variables({**home, "PIP_CONFIG_FILE": str(tmp_path / "own.conf")})
    assert found["UV_DEFAULT_INDEX"] == "https://own.invalid"
    assert "UV_DEFAULT_INDEX" not in indexes.variables({**home, "PIP_CONFIG_FILE": "/dev/null"})


def test_broken_settings_and_what_is_not_for_uv(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".config" / "pip" / "pip.conf").write_text("no section")
    secret = {"AWS_SECRET_ACCESS_KEY": "x", "UV_PYTHON": "/evil", "VIRTUAL_ENV": "/venv", "https_proxy": "http://proxy"}
    found = indexes.variables({**home, **secret})
    assert found["https_proxy"] == "http://proxy"
    assert found.keys() <= {"HOME", "PATH", "https_proxy", "SSL_CERT_FILE", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS"}
