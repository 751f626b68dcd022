"""Markdown that people wrote cannot harm the reader."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlwright.web.markdown import MAX_CHARACTERS, plain, render


def test_what_people_write() -> None:
    html = render("# T\n\n**b** `c`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx < 1\n```\n")
    for part in ("<h1>T</h1>", "<strong>b</strong>", "<code>c</code>", "<td>1</td>", "x &lt; 1"):
        assert part in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](data:text/html;base64,PHNjcmlwdD4=)",
        "![a](javascript:alert(1))",
        '<a href="https://x" onclick="alert(1)">a</a>',
        "<iframe src=https://example.org></iframe>",
        "<style>body{display:none}</style>",
        '[a](https://x "\\" onmouseover=alert(1)")',
    ],
)
def test_nothing_runs(text: str) -> None:
    html = render(text).lower()
    assert "<script" not in html
    assert "<iframe" not in html
    assert "<style" not in html
    assert 'href="javascript' not in html
    assert 'href="data' not in html
    assert "<img src=x" not in html
    assert not any(f"<a {name}" in html for name in ("onclick", "onmouseover"))


def test_links_do_not_hand_over_the_page() -> None:
    assert 'rel="noopener noreferrer nofollow"' in render("[a](https://example.org)")


def test_relative_pictures_are_not_asked_for() -> None:
    assert "src" not in render("![x](x.png)")
    assert 'src="/runs/1/raw/x.png"' in render("![x](/runs/1/raw/x.png)")


def test_a_long_text_is_cut() -> None:
    assert len(render("a" * (2 * MAX_CHARACTERS))) < MAX_CHARACTERS + 100


@given(st.text(max_size=300))
def test_any_text_renders(text: str) -> None:
    assert "<script" not in render(text).lower()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n\n# A **bold** title\nmore", "A bold title"),
        ("- see [the wiki](https://example.org) and `code`", "see the wiki and code"),
        ("> quoted __text__", "quoted text"),
        ("5 * 3 > 2 #1", "5 * 3 > 2 #1"),
        ("-5 degrees", "-5 degrees"),
        ("![picture](x.png)", "picture"),
        ("", ""),
        ("\n \n", ""),
        ("x" * 5_000, "x" * 2_000),
    ],
)
def test_the_first_line_without_marks(text: str, line: str) -> None:
    assert plain(text) == line
