"""Previews of files."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlwright.web.preview import kind_of, preview


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("plots/a.PNG", "image"),
        ("a.csv", "table"),
        ("a.tsv", "table"),
        ("a.json", "json"),
        ("model/MLmodel", "text"),
        ("a.py", "text"),
        ("README.md", "markdown"),
        ("report.html", "html"),
        ("a.pdf", "pdf"),
        ("model.pkl", "other"),
        ("noextension", "other"),
        (".env", "text"),
    ],
)
def test_kinds(path: str, kind: str) -> None:
    assert kind_of(path) == kind


def test_a_table() -> None:
    found = preview("a.csv", b'name,v\n"x, y",1\n\xe5\x90\x8d,2\n', 30)
    assert found.columns == ["name", "v"]
    assert found.rows == [["x, y", "1"], ["名", "2"]]


def test_a_long_table_is_cut() -> None:
    content = ("a,b\n" + "1,2\n" * 2_000).encode()
    found = preview("a.csv", content, len(content))
    assert len(found.rows) == 500
    assert found.cut


def test_a_broken_table_is_text() -> None:
    assert preview("a.csv", b'a\n"' + b"x" * 200_000, 200_003).kind == "text"


def test_what_log_table_writes() -> None:
    content = json.dumps({"columns": ["q", "a"], "data": [["1", {"x": [1]}], ["2", None]]}).encode()
    found = preview("t.json", content, len(content))
    assert found.kind == "table"
    assert found.rows == [["1", '{"x": [1]}'], ["2", ""]]


def test_json_is_indented_and_bad_json_is_text() -> None:
    assert preview("a.json", b'{"a":[1]}', 9).text == '{\n  "a": [\n    1\n  ]\n}'
    assert preview("a.json", b"{nope", 5).text == "{nope"
    deep = b"[" * 100_000
    assert preview("a.json", deep, len(deep)).kind in {"text", "json"}


def test_binary_behind_a_text_name() -> None:
    assert preview("a.txt", b"\0\1\2", 3).kind == "other"


def test_markdown_is_cleaned() -> None:
    assert "<script" not in preview("a.md", b"<script>alert(1)</script>", 25).text


@given(st.sampled_from(["a.csv", "a.json", "a.md", "a.txt", "a.tsv", "a.html"]), st.binary(max_size=300))
def test_any_content_has_a_preview(path: str, content: bytes) -> None:
    assert preview(path, content, len(content)).kind
