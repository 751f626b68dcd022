"""What the READMEs promise in their first screen is so."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs import fences

READMES = [fences.ROOT / "README.md", fences.ROOT / "README.zh-TW.md"]


def commands(page: Path) -> list[str]:
    """The commands in a page's console fences."""
    blocks = re.findall(r"^```console\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("page", READMES, ids=lambda path: path.name)
def test_the_two_commands_are_in_the_first_screen_and_exist(page: Path) -> None:
    assert commands(page) == ["make demo", "make test"]
    assert page.read_text().index("$ make test") < 1200
    for command in commands(page):
        # Dry run: make names what it would do, and fails for a target that it does not have.
        subprocess.run([*command.split(), "--dry-run"], cwd=fences.ROOT, check=True, capture_output=True)


@pytest.mark.component
def test_the_code_sample_runs(tmp_path: Path) -> None:
    (sample,) = re.findall(r"^```python\n(.*?)^```$", READMES[0].read_text(), re.MULTILINE | re.DOTALL)
    assert len([line for line in sample.splitlines() if line]) == 8
    (tmp_path / "page.md").write_text(
        f"```console\n$ mlwright up --detach\n...\n```\n\n```python\n{sample}```\n\n"
        "```python\nassert len(mlflow.search_runs(output_format='list')) == 1\n```\n"
    )
    assert fences.run_page(tmp_path / "page.md", tmp_path) == 3


def test_make_targets_in_prose_exist() -> None:
    known = set(re.findall(r"^([a-z-]+):", (fences.ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in [*READMES, fences.ROOT / "CONTRIBUTING.md"]:
        for words in re.findall(r"make ((?:[a-z-]+ ?)+)", "\n".join(re.findall(r"`(make [^`]*)`", page.read_text()))):
            assert set(words.split()) <= known, f"{page.name}: make {words}"


def test_links_of_the_other_pages_lead_somewhere() -> None:
    for page in [*fences.ROOT.glob("*.md"), *(fences.ROOT / "docs" / "adr").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target and not target.startswith("benchmarks/"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
