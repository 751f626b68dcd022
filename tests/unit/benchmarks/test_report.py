"""Rows: ratios in our favour, bounds, the table, and what the results file keeps."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from benchmarks.report import Machine, Row, load_entries, number, save, table

WHERE = Machine(date="2026-01-01 00:00 UTC", hardware="2 cores", python="3.11", versions={"mlflow": "3"})


def row(**changes: object) -> Row:
    plain = Row(name="a", label="work", unit="/s", peer=10.0, ours=400.0, must="≥ 40×", min_ratio=40)
    return msgspec.structs.replace(plain, **changes)


def test_ratio_is_above_one_in_our_favour_for_both_directions() -> None:
    assert row().ratio == 40
    assert row(better="lower", peer=10.0, ours=5.0).ratio == 2


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, True),
        ({"ours": 399.0}, False),
        ({"ours": None}, None),
        ({"min_ratio": None}, None),
        ({"min_value": 401.0}, False),
        ({"max_value": 400.0}, True),
        ({"max_value": 399.0}, False),
        ({"peer": None}, None),
        ({"peer": None, "max_value": 1.0}, False),
        ({"ours": 399.0, "limit": 440.0}, True),
        ({"ours": 399.0, "limit": 450.0}, False),
        ({"ours": 399.0, "limit": 440.0, "min_value": 500.0}, False),
    ],
)
def test_met_judges_every_bound_it_can(changes: dict[str, object], met: bool | None) -> None:
    assert row(**changes).met is met


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.1234, "0.123 s"), (99.94, "99.9 s"), (12345.6, "12,346 s")]
)
def test_numbers_have_three_digits_or_separators(value: float | None, text: str) -> None:
    assert number(value, "s") == text


def test_the_table_says_what_fell_short() -> None:
    text = table([row(), row(ours=1.0)])
    assert len(text.splitlines()) == 4
    assert "| yes " in text.splitlines()[2]
    assert "**no**" in text.splitlines()[3]


def test_the_table_says_how_near_the_clients_own_limit_is() -> None:
    text = table([row(ours=390.0, limit=400.0, note="warm")])
    assert "work (warm; the client's own limit: 400 /s)" in text
    assert "39×, 98% of the limit" in text
    assert "≥ 40×, or 90% of the limit" in text


def test_results_keep_the_last_of_each_row(tmp_path: Path) -> None:
    store, results = tmp_path / "r.json", tmp_path / "R.md"
    later = msgspec.structs.replace(WHERE, date="2026-01-02 00:00 UTC")
    save([row(), row(name="b", label="other")], WHERE, store, results)
    save([row(ours=800.0)], later, store, results)
    entries = load_entries(store)
    assert entries["a"].row.ours == 800
    assert entries["b"].machine == WHERE
    text = results.read_text()
    assert text.index("2026-01-02") < text.index("2026-01-01")
    assert "800 /s" in text
    assert "other" in text
