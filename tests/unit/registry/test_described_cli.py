"""`mlwright models diff` and `card`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlwright.app.cli import cli
from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.kernel.errors import Invalid, NotFound
from tests.unit.registry.registered import ARTIFACTS, Registered

Typed = Callable[..., Any]


@pytest.fixture
def typed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Runs a command of `mlwright models` where "tree" has two versions and the alias "champion"."""
    monkeypatch.setenv("MLWRIGHT_DATA", str(data_dir))
    platform = Platform(Settings(data=data_dir))
    registered = Registered(platform)
    registered.register()
    assert registered.ask("PUT", f"{ARTIFACTS}/artifacts/{registered.folder}/new.txt", b"new").status == 200
    registered.register()
    registered.post("registered-models/alias", {"name": "tree", "alias": "champion", "version": "1"})
    platform.close()
    return lambda *words: CliRunner().invoke(cli, ["models", *words])


def test_diff(typed: Typed) -> None:
    shown = typed("diff", "tree@champion", "tree/2")
    assert shown.exit_code == 0
    assert "their files are not the same" in shown.stderr
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["files", "new.txt", "added"] in [line[:3] for line in lines]
    assert ["files", "2", "the", "same"] in lines
    assert ["metrics", "unknown", "unknown", "unknown"] in lines
    found = json.loads(typed("diff", "tree/1", "tree/2", "-o", "json").stdout)
    assert (found["identical"], found["left"]["version"], found["right"]["version"]) == (False, 1, 2)
    assert "the same" in typed("diff", "tree/1", "tree/1").stderr
    assert "identical: false" in typed("diff", "tree/1", "tree/2", "-o", "yaml").stdout
    assert isinstance(typed("diff", "tree", "tree/2").exception, Invalid)
    assert isinstance(typed("diff", "tree/1", "tree/9").exception, NotFound)
    assert isinstance(typed("diff", "tree/1", "tree/2", "--to-project", "elsewhere").exception, NotFound)


def test_card(typed: Typed) -> None:
    assert typed("card", "tree/1").stdout.startswith("# tree, version 1\n\n")
    assert typed("card", "tree@champion").stdout == typed("card", "tree/1").stdout
    assert json.loads(typed("card", "tree/2", "-o", "json").stdout)["flavors"] == {"sklearn": "1.8.0"}
    assert isinstance(typed("card", "tree").exception, Invalid)
    assert isinstance(typed("card", "tree/9").exception, NotFound)


def test_what_is_compared_must_be_said(typed: Typed, data_dir: Path) -> None:
    platform = Platform(Settings(data=data_dir))
    app = Registered.__new__(Registered)
    app.app = platform.router()
    path = "/v1/models/tree/versions/1/difference"
    assert app.ask("GET", path).json["path"] == "to_version"
    assert app.ask("GET", f"{path}?to_version=2&to_model=other").status == 404
    platform.close()
