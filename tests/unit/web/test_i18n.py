"""Every text that a page can show has a translation; the language is chosen as a reader expects."""

import re
from pathlib import Path

import pytest
from starlette.requests import Request

import mlwright
from mlwright.kernel.errors import MlwrightError
from mlwright.kernel.http import Router  # noqa: F401 - its module defines further errors
from mlwright.web.i18n import LANGUAGES, Words, catalogue, from_header, language_of

SOURCE = Path(mlwright.__file__).parent
_STRING = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_CALL = re.compile(rf"\bt(?:\.count)?\(\s*({_STRING}(?:\s*,\s*{_STRING})?)")
_PLACE = re.compile(r"\{(\w+)\}")


def texts() -> dict[str, str]:
    """English text → where it stands, for every translatable text of templates and scripts."""
    found: dict[str, str] = {}
    files = [*SOURCE.rglob("templates/**/*.html"), *(SOURCE / "web/static/js").glob("*.js")]
    for path in files:
        for match in _CALL.finditer(path.read_text(encoding="utf-8")):
            for quoted in re.findall(_STRING, match[1]):
                found.setdefault(quoted[1:-1].replace('\\"', '"').replace("\\'", "'"), path.name)
    return found


def error_titles() -> set[str]:
    """The headings of error pages."""
    todo, titles = [MlwrightError], set()
    while todo:
        kind = todo.pop()
        titles.add(kind.title)
        todo += kind.__subclasses__()
    return titles


@pytest.mark.parametrize("language", [each for each in LANGUAGES if each != "en"])
def test_every_text_is_translated_and_nothing_else(language: str) -> None:
    wanted = set(texts()) | error_titles()
    assert len(wanted) > 200, "the texts were not found: the pattern no longer fits"
    have = set(catalogue(language))
    assert sorted(wanted - have) == []
    # The rest are messages that a page translates: each must still stand somewhere in the code.
    code = "".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    assert [text for text in sorted(have - wanted) if text not in code] == []


@pytest.mark.parametrize("language", [each for each in LANGUAGES if each != "en"])
def test_translations_keep_the_places_for_values(language: str) -> None:
    for text, translation in catalogue(language).items():
        assert set(_PLACE.findall(text)) == set(_PLACE.findall(translation)), text
        assert translation.strip(), text


def test_no_text_is_put_together_from_parts() -> None:
    """A text that is built with ~ or + cannot be translated."""
    for path in SOURCE.rglob("templates/**/*.html"):
        bad = re.findall(rf"\bt\(\s*{_STRING}\s*[~+]", path.read_text(encoding="utf-8"))
        assert bad == [], path.name


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "en"),
        ("en-US,en;q=0.9", "en"),
        ("zh-TW,zh;q=0.9,en;q=0.8", "zh-TW"),
        ("zh-Hant", "zh-TW"),
        ("en;q=0.5, zh-TW;q=0.9", "zh-TW"),
        ("de, zh;q=0.1", "zh-TW"),
        ("fr, de", "en"),
        ("zh;q=nonsense, en", "en"),
        (",;q=,", "en"),
    ],
)
def test_language_from_the_header(header: str, expected: str) -> None:
    assert from_header(header) == expected


def request(query: str = "", **headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "query_string": query.encode(), "headers": pairs})


def test_the_address_wins_over_the_cookie_and_the_cookie_over_the_header() -> None:
    assert language_of(request("lang=zh-TW", cookie="mlw-lang=en")) == "zh-TW"
    assert language_of(request("", cookie="mlw-lang=zh-TW", accept_language="en")) == "zh-TW"
    assert language_of(request("lang=xx", cookie="mlw-lang=yy", accept_language="zh")) == "zh-TW"


def test_counts() -> None:
    assert Words("en").count("1 run", "{n} runs", 1) == "1 run"
    assert Words("en").count("1 run", "{n} runs", 12345) == "12,345 runs"
    assert Words("zh-TW").count("1 run", "{n} runs", 1) == "1 次執行"


def test_scripts_get_only_their_texts() -> None:
    assert Words("zh-TW").subset(frozenset({"Copied", "no such text"})) == {"Copied": "已複製"}
    assert Words("en").subset(frozenset({"Copied"})) == {}
