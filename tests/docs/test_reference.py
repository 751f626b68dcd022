"""The reference is complete and fresh: what exists is documented, and generated parts are as the code says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mlwright.app.cli import cli
from tools import docs

REFERENCE = docs.reference_pages()


@pytest.mark.parametrize("page", REFERENCE, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_generated_parts_are_fresh(page: Path) -> None:
    text = page.read_text()
    assert docs.with_generated(text) == text, "run `make docs-reference`"


@pytest.mark.parametrize("language", docs.LANGUAGES)
def test_every_kind_of_error_is_explained(language: str) -> None:
    text = (docs.ROOT / "docs" / language / "reference" / "errors.md").read_text()
    explained = set(re.findall(r"^- `(\w+)`[:：]", text, re.MULTILINE))
    assert explained == {each.code for each in docs.error_classes()}


@pytest.mark.parametrize("language", docs.LANGUAGES)
def test_every_type_of_event_is_explained(language: str) -> None:
    text = (docs.ROOT / "docs" / language / "reference" / "events.md").read_text()
    assert set(re.findall(r"^\| `([a-z_]+\.[a-z_.]+)` \|", text, re.MULTILINE)) == docs.event_types()


def test_every_command_that_a_page_names_exists() -> None:
    known = {name for name, _, _ in docs.walk(cli, click.Context(cli, info_name="mlwright"))}
    groups = {name.rsplit(" ", 1)[0] for name in known if " " in name}
    for page in [*(docs.ROOT / "docs").rglob("*.md"), *docs.ROOT.glob("*.md")]:
        text = page.read_text()
        fences = re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        lines = [line for fence in fences for line in fence.splitlines()]
        lines += re.findall(r"`(mlwright [^`]*)`", text) + re.findall(r"^\$ (mlwright .*)", text, re.MULTILINE)
        for words in filter(None, (re.match(r"mlwright((?: [a-z][a-z0-9]*)+)", line) for line in lines)):
            name = "mlwright"
            for word in words[1].split():
                if name not in groups:
                    break
                name = f"{name} {word}"
                assert name in known, f"{page.relative_to(docs.ROOT)}: there is no `{name}`"


def test_event_types_are_read_from_the_code(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "def _emit(tx, what, data):\n    tx.emit(Draft('me', 'p', f'slice.thing.{what}', 's', data))\n"
        "_emit(1, 'made', {})\n_emit(1, 'hidden' if x else 'shown', {})\n_emit(1, what='gone', data={})\n"
        "def direct(tx):\n    tx.emit(Draft('me', 'p', 'slice.other.made', 's', {}))\n"
    )
    expected = {f"slice.thing.{end}" for end in ("made", "hidden", "shown", "gone")} | {"slice.other.made"}
    assert docs.event_types(tmp_path) == expected


def test_a_stale_page_is_seen() -> None:
    stale = "# Errors\n\n<!-- generated: errors -->\n\nold\n\n<!-- end -->\nby hand\n"
    fresh = docs.with_generated(stale)
    assert "old" not in fresh
    assert "| `not_found` | 404 |" in fresh
    assert fresh.endswith("by hand\n")


@pytest.mark.parametrize("language", docs.LANGUAGES)
def test_the_site_builds(language: str, tmp_path: Path) -> None:
    config = (docs.ROOT / "docs" / f"zensical.{language}.toml").read_text()
    shutil.copytree(docs.ROOT / "docs" / language, tmp_path / language)
    (tmp_path / "zensical.toml").write_text(config)
    command = [str(Path(sys.executable).parent / "zensical"), "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / language / "tutorials" / "first-run" / "index.html").exists()
