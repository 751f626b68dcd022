"""The build hook brings the web assets once, complete and with their licences."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import hatch_build

ROOT = Path(__file__).resolve().parent.parent.parent
VENDOR = ROOT / hatch_build.VENDOR


def inputs(root: Path) -> Path:
    """Copy the hook's inputs and assets into a folder."""
    (root / "tools").mkdir()
    for name in hatch_build.INPUTS:
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(VENDOR, root / hatch_build.VENDOR)
    return root


def test_the_assets_of_this_tree_are_fresh() -> None:
    assert hatch_build.is_fresh(ROOT), "run `make setup`"


def test_a_changed_input_or_a_missing_file_makes_them_stale(tmp_path: Path) -> None:
    root = inputs(tmp_path)
    assert hatch_build.is_fresh(root)
    (root / "package.json").write_text("{}")
    assert not hatch_build.is_fresh(root)
    shutil.copy(ROOT / "package.json", root / "package.json")
    assert hatch_build.is_fresh(root)
    (root / hatch_build.VENDOR / "htmx.min.js").unlink()
    assert not hatch_build.is_fresh(root)


def test_the_chart_bundle_has_what_the_pages_use() -> None:
    bundle = (VENDOR / hatch_build.BUNDLE).read_text()
    assert "var echarts=" in bundle[:40]
    for chart in ("parallel", "scatter", "heatmap"):
        assert f"series.{chart}" in bundle
    assert len(bundle) < 700_000


def test_every_npm_package_that_is_shipped_has_its_licence() -> None:
    shipped = {source.split("/")[0] for source in hatch_build.COPIES.values()}
    licences = {path.stem for path in (VENDOR / "licenses").iterdir()}
    assert shipped <= licences


def test_versions_are_exact() -> None:
    manifest = json.loads((ROOT / "package.json").read_text())
    for version in (manifest["dependencies"] | manifest["devDependencies"]).values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_without_npm_the_hook_asks_for_a_node_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    hook = hatch_build.AssetsBuildHook(str(tmp_path), {}, None, None, str(tmp_path), "wheel")  # type: ignore[arg-type]
    monkeypatch.setattr(hatch_build, "is_fresh", lambda root: False)
    assert hook.dependencies() == [hatch_build.NODE_PACKAGE]
    monkeypatch.setattr(hatch_build, "is_fresh", lambda root: True)
    assert hook.dependencies() == []
    with pytest.raises(RuntimeError, match="need npm"):
        hatch_build.npm_command()
