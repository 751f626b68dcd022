"""Both languages have the same pages, the same headings, and the same fences byte by byte."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
ENGLISH, CHINESE = ROOT / "docs" / "en", ROOT / "docs" / "zh-TW"
PAIRS = [(path, CHINESE / path.relative_to(ENGLISH)) for path in sorted(ENGLISH.rglob("*.md"))]
PAIRS.append((ROOT / "README.md", ROOT / "README.zh-TW.md"))

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# Simplified forms of common characters: none of them belongs on a page for Taiwan.
_SIMPLIFIED = set(
    "们这个来时对说开关实验与为从进运数库应务发样图网络线结级错误认证权获读写会计设备选择试标签项录单页记忆优势历续长"
)


def fences(text: str) -> list[str]:
    return _FENCE.findall(text)


def headings(text: str) -> list[int]:
    """The levels of all headings, in order."""
    return [len(found) for found in re.findall(r"^(#+) ", _FENCE.sub("", text), re.MULTILINE)]


def test_both_trees_have_the_same_pages() -> None:
    english = {path.relative_to(ENGLISH) for path in ENGLISH.rglob("*") if path.is_file()}
    chinese = {path.relative_to(CHINESE) for path in CHINESE.rglob("*") if path.is_file()}
    assert english == chinese


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda path: path.stem)
def test_a_page_has_the_same_structure_in_both_languages(english: Path, chinese: Path) -> None:
    ours, theirs = english.read_text(), chinese.read_text()
    assert headings(ours) == headings(theirs)
    assert fences(ours) == fences(theirs)
    assert len(re.findall(r"^[-|]", ours, re.MULTILINE)) == len(re.findall(r"^[-|]", theirs, re.MULTILINE))


@pytest.mark.parametrize("page", [pair[1] for pair in PAIRS], ids=lambda path: path.stem)
def test_the_chinese_pages_use_traditional_characters(page: Path) -> None:
    prose = _FENCE.sub("", page.read_text())
    assert re.search(r"[\u4e00-\u9fff]", prose), "the page is not translated"
    assert not sorted(set(prose) & _SIMPLIFIED)


@pytest.mark.parametrize(
    "page", [path for pair in PAIRS for path in pair], ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    prose = _FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", [pair[1] for pair in PAIRS], ids=lambda path: path.stem)
def test_chinese_paragraphs_are_not_wrapped(page: Path) -> None:
    """A line break inside a paragraph would be shown as a space between two characters."""
    prose = _FENCE.sub("", page.read_text())
    assert not re.findall(r".*[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]\n *[\u4e00-\u9fff].*", prose)
