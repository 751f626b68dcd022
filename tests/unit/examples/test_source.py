"""Finding the data without importing its package."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from examples.flights import source
from examples.flights.errors import DemoError


def test_package_is_found_but_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / source.PACKAGE
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    for name in (source.FLIGHTS, source.WEATHER, source.AIRPORTS):
        (package / "data" / name).write_bytes(name.encode())
    monkeypatch.syspath_prepend(str(tmp_path))
    found = source.find()
    assert found[source.WEATHER] == package / "data" / source.WEATHER
    assert source.PACKAGE not in sys.modules


def test_missing_files_are_named_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / source.FLIGHTS).write_bytes(b"")
    with pytest.raises(DemoError, match=f"lacks {source.WEATHER}, {source.AIRPORTS}") as caught:
        source.find(tmp_path)
    assert "pip install" in caught.value.hint


def test_missing_package_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PACKAGE", "no_such_package_here")
    with pytest.raises(DemoError, match="no no_such_package_here package"):
        source.find()


def test_digests_are_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"flights")
    expected = "sha256:" + hashlib.sha256(b"flights").hexdigest()
    assert source.digests({"a": tmp_path / "a"}) == {"a": expected}
