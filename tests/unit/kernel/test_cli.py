"""How commands print data."""

import json
import time

import pytest
import yaml

from mlwright.kernel import cli
from mlwright.kernel.cli import fitted, show

ROWS = [
    {"name": "a", "size": 1, "on": True, "note": None},
    {"name": "longer", "size": 22, "on": False, "note": {"x": [1]}},
]


def test_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, "table")
    assert capsys.readouterr().out.splitlines() == [
        "NAME    SIZE  ON   NOTE",
        "a       1     yes",
        'longer  22    no   {"x":[1]}',
    ]
    show(ROWS, "table", ["size", "name", "missing"])
    assert capsys.readouterr().out == "SIZE  NAME    MISSING\n1     a\n22    longer\n"
    show([], "table", ["name"])
    assert capsys.readouterr().out == "NAME\n"
    show(ROWS[0], "table")
    assert capsys.readouterr().out == "name  a\nsize  1\non    yes\nnote  \n"


def test_programs_get_json_and_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, "json")
    assert json.loads(capsys.readouterr().out) == ROWS
    show(ROWS, "yaml")
    assert yaml.safe_load(capsys.readouterr().out) == ROWS


def test_people_get_dates(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Taipei")
    time.tzset()
    row = {"start_ms": 1_700_000_000_000, "end_ms": None, "metrics.took_ms": 12, "odd_ms": 2**62}
    show([row], "table")
    titles, values = capsys.readouterr().out.splitlines()
    assert titles.split() == ["START", "END", "METRICS.TOOK_MS", "ODD"]
    assert values.split() == ["2023-11-15", "06:13:20", "12", str(2**62)]
    show(row, "table")
    assert capsys.readouterr().out.startswith("start            2023-11-15 06:13:20\n")
    show([row], "json")
    assert json.loads(capsys.readouterr().out) == [row]
    monkeypatch.undo()
    time.tzset()


def test_tables_fit_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": "0" * 12, "short": "ab", "long": "x" * 50, "longer": "中文" * 30, "lines": "a\n\x1b[2Jb"}]
    monkeypatch.setattr(cli, "terminal_width", lambda: 60)
    show(rows, "table")
    for line in capsys.readouterr().out.splitlines():
        assert cli._width(line) <= 60
    show(rows, "table")
    values = capsys.readouterr().out.splitlines()[1]
    assert values.startswith(f"{'0' * 12}  ab ")
    assert ("x…  中文" in values, values.endswith("a [2Jb")) == (True, True)
    monkeypatch.setattr(cli, "terminal_width", lambda: None)
    show(rows, "table")
    assert "x" * 50 in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("中文", 4, "中文"),
        ("中文", 3, "中…"),
        ("", 1, ""),
        ("a\tb", None, "a b"),
    ],
)
def test_a_line_is_cut(text: str, width: int | None, expected: str) -> None:
    assert fitted(text, width) == expected
