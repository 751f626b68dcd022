"""Every console and python fence of the documentation runs.

The English pages are run; test_languages.py proves that the other language has the same fences byte by byte.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import fences

PAGES = sorted((fences.ROOT / "docs" / "en").rglob("*.md"))
WITH_FENCES = [page for page in PAGES if list(fences.parse(page).examples())]


@pytest.mark.component
@pytest.mark.parametrize("page", WITH_FENCES, ids=lambda page: page.stem)
def test_the_fences_of_a_page_run(page: Path, tmp_path: Path) -> None:
    assert fences.run_page(page, tmp_path) > 0


def test_tutorials_and_guides_have_fences_to_run() -> None:
    for page in PAGES:
        if page.parent.name in ("tutorials", "how-to"):
            assert page in WITH_FENCES, f"{page} shows nothing that a test can run"


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("```console\n$ echo one\ntwo\n```\n", "one"),
        ("```console\n$ false\n```\n", "exited 1"),
        ("```console\n$ echo error: expected\nerror: expected\n```\n", "exited 0"),
    ],
)
def test_a_wrong_console_fence_fails(page: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(page)
    with pytest.raises(AssertionError, match=problem):
        fences.run_page(tmp_path / "page.md", tmp_path)


@pytest.mark.component
def test_a_wrong_python_fence_fails(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError, match="assert x == 2"):
        fences.run_page(tmp_path / "page.md", tmp_path)


def test_dots_stand_for_anything(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("```console\n$ printf 'a b c\\nd\\n'\na ... c\n...\n```\n")
    assert fences.run_page(tmp_path / "page.md", tmp_path) == 1
