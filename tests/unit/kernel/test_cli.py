"""How commands print data."""

import json

import pytest
import yaml

from mlwright.kernel.cli import show

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
