"""Which artifact paths are safe."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlwright.artifacts.spec import MAX_PATH_LENGTH, root_path, safe_path
from mlwright.kernel.errors import Invalid


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", "a"), ("a/b.txt", "a/b.txt"), ("a//b/", "a/b"), ("./a/./b", "a/b"), ("a b+c&d%e", "a b+c&d%e"),
        ("日本/é.png", "日本/é.png"), ("..a/b..", "..a/b.."), ("...", "..."), (" a ", " a "), ("ab:c", "ab:c"),
        ("100%", "100%"), ("%41", "%41"), ("a'\"<>|*?", "a'\"<>|*?"), ("x" * MAX_PATH_LENGTH, "x" * MAX_PATH_LENGTH),
    ],
)  # fmt: skip
def test_ordinary_paths_stay_what_they_are(text: str, expected: str) -> None:
    assert safe_path(text) == expected


HOSTILE = [
    "..", "../a", "a/../b", "a/..", "/a", "//a", "/", "\\a", "a\\..\\b", "C:/a", "c:a", "C:", "file:a", "FILE:///a",
    "a#b", "a\0b", "a\nb", "\x7f", "a\ud800b", "x" * (MAX_PATH_LENGTH + 1), "", ".", "./", "././.",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_paths_that_could_lead_elsewhere_are_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        safe_path(text)
    assert caught.value.message == "Invalid path"


@pytest.mark.parametrize("layers", [1, 2, 3, 9, 12])
@pytest.mark.parametrize("text", ["../a", "a/../b", "/a", "a\\b", "C:/a", "a\0b", "file:a", "a#b"])
def test_encoding_hides_nothing(text: str, layers: int) -> None:
    for _ in range(layers):
        text = "".join(f"%{byte:02x}" for byte in text.encode()) if len(text) < 40 else quote(text, safe="")
    with pytest.raises(Invalid):
        safe_path(text)


def test_the_root_is_allowed_where_it_makes_sense() -> None:
    assert safe_path("", empty=True) == ""
    assert safe_path(".", empty=True) == ""
    with pytest.raises(Invalid):
        safe_path("..", empty=True)


@given(st.text(max_size=40))
def test_a_safe_path_stays_below_its_folder(text: str) -> None:
    try:
        path = safe_path(text)
    except Invalid:
        return
    parts = path.split("/")
    assert ".." not in parts
    assert not path.startswith("/")
    assert "\\" not in path
    assert "\0" not in path
    assert safe_path(path) == path


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mlflow-artifacts:/1/a", "1/a"), ("mlflow-artifacts:/1/a/", "1/a"), ("mlflow-artifacts://host:5/1/a", "1/a"),
        ("mlflow-artifacts:", ""), ("mlflow-artifacts://host", ""), ("s3://bucket/a", None),
        ("/local", None), ("", None),
    ],
)  # fmt: skip
def test_the_root_of_a_uri(uri: str, expected: str | None) -> None:
    assert root_path(uri) == expected
