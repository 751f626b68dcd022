"""Environments as clients captured them, and how two differ."""

from mlwright.tracking.ui.compare import code_diff, side_by_side
from mlwright.tracking.ui.environment import Captured, document_facts, packages


def test_packages_of_a_lock_file() -> None:
    lock = "# comment\nNumPy==2.1.0\nx[extra]==1.0 ; python_version > '3'\ny==2 \\\n  --hash=sha256:00\n-e .\nz>=1\n"
    assert packages(lock) == {"numpy": "2.1.0", "x": "1.0", "y": "2"}


def test_facts_of_a_document() -> None:
    assert document_facts('{"a": {"b": 1, "c": "x"}, "d": [1, 2]}') == {"a.b": "1", "a.c": "x", "d": "[1, 2]"}
    assert document_facts("nope") == {}
    assert document_facts("") == {}
    assert document_facts("[" * 100_000) == {}
    assert len(document_facts(str({f"k{n}": n for n in range(1000)}).replace("'", '"'))) == 100


def test_side_by_side() -> None:
    lines = side_by_side([{"a": "1", "b": "2"}, {"b": "2", "c": "3"}])
    assert [(line.key, line.values, line.differs) for line in lines] == [
        ("a", ["1", None], True),
        ("b", ["2", "2"], False),
        ("c", [None, "3"], True),
    ]


def test_code_of_two_runs() -> None:
    one = Captured({}, {}, ["+x = 1"], False)
    other = Captured({}, {}, ["+x = 2"], False)
    nothing = Captured({}, {}, None, False)
    assert code_diff(nothing, nothing) is None
    assert code_diff(one, one) == []
    assert "-+x = 1" in (code_diff(one, other) or [])
    assert code_diff(nothing, one)
