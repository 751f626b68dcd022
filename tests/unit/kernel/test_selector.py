"""Label selectors: Kubernetes' grammar and meaning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlwright.kernel.errors import Invalid
from mlwright.kernel.selector import matches, parse

LABELS = {"team": "vision", "stage": "dev", "a.b/c": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True), ("  ", True), ("team=vision", True), ("team == vision", True), ("team=audio", False),
        ("team!=audio", True), ("team!=vision", False), ("none!=x", True), ("none=x", False), ("team", True),
        ("none", False), ("!none", True), ("!team", False), ("stage in (dev,test)", True), ("stage in ( test )", False),
        ("stage notin (dev)", False), ("stage notin (test)", True), ("none notin (x)", True), ("none in (x)", False),
        ("a.b/c=", True), ("a.b/c", True), ("a.b/c in ()", True), ("team=vision,stage=dev", True),
        ("team=vision,stage=test", False), ("team in (vision,audio),!none,stage!=prod", True),
    ],
)  # fmt: skip
def test_selectors(text: str, expected: bool) -> None:
    assert matches(parse(text), LABELS) is expected


@pytest.mark.parametrize("text", ["=", "a=b=c", "a b", "a in b", "a in (b", "(a)", "a,,b", ",", "!a=b", "a>1", "a=b c"])
def test_what_is_no_selector(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(text)
    assert caught.value.path == "selector"


@given(st.text())
def test_any_text_is_a_selector_or_invalid(text: str) -> None:
    try:
        matches(parse(text), LABELS)
    except Invalid:
        return
