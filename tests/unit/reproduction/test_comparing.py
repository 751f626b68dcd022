"""Which of several runs is the counterpart, what is compared, and how it is told."""

from typing import Any

import pytest

from mlwright.reproduction import comparing, reporting, rerun, tolerances
from mlwright.reproduction.spec import Likened, Likeness, Missing, Outcome, Record, Report
from mlwright.reproduction.tolerances import Tolerances


def run(run_id: str, name: str) -> dict[str, Any]:
    return {"run_id": run_id, "name": name}


RECORD = Record("b", "two", 0, "FINISHED")
SIBLINGS = [run("a", "one"), run("b", "two"), run("c", "three")]


@pytest.mark.parametrize(
    ("again", "found"),
    [
        ([], None),
        ([run("x", "random")], "x"),
        ([run("x", "one"), run("y", "two")], "y"),
        ([run("x", "p"), run("y", "q"), run("z", "r")], "y"),
        ([run("x", "p"), run("y", "q")], None),
        ([run("x", "two"), run("y", "two"), run("z", "two")], "y"),
    ],
)
def test_the_counterpart(again: list[dict[str, Any]], found: str | None) -> None:
    chosen = rerun.counterpart(RECORD, SIBLINGS, again)
    assert (chosen and chosen["run_id"]) == found


def test_metrics() -> None:
    before = {"auc": {"value": 0.5}, "loss": {"value": "NaN"}, "fit_seconds": {"value": 1}, "old": {"value": 1}}
    after = {"auc": {"value": 0.6}, "loss": {"value": "NaN"}, "fit_seconds": {"value": 9}, "new": {"value": 1}}
    found = {each.name: each.likeness for each in comparing.metrics(before, after, Tolerances())}
    assert found == {
        "auc": Likeness.DIFFERS,
        "fit_seconds": Likeness.APART,
        "loss": Likeness.SAME,
        "new": Likeness.DIFFERS,
        "old": Likeness.DIFFERS,
    }
    asked = Tolerances(tolerances.parse(["auc=0.2", "fit_seconds=1"]), ["old", "new"])
    found = {each.name: each.likeness for each in comparing.metrics(before, after, asked)}
    assert found == {
        "auc": Likeness.WITHIN,
        "fit_seconds": Likeness.DIFFERS,  # who names a tolerance wants it compared
        "loss": Likeness.SAME,
        "new": Likeness.APART,
        "old": Likeness.APART,
    }


def test_histories() -> None:
    def compare(before: list[tuple[int, float]], after: list[tuple[int, float]]) -> Likened:
        return comparing._history("loss", before, after, Tolerances())

    assert compare([(0, 1.0), (1, 0.5)], [(0, 1.0), (1, 0.5)]).likeness is Likeness.SAME
    assert compare([(0, 1.0), (1, 0.5)], [(0, 1.0), (1, 0.5000000001)]).likeness is Likeness.WITHIN
    assert compare([(0, 1.0)], [(0, 1.0), (1, 0.5)]).note == "the steps are others"
    assert compare([(0, 1.0), (1, 0.5)], [(0, 1.1), (1, 0.6)]).note == "2 points differ, the first at step 0"


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (b"at 2026-01-02T03:04:05.6Z by r1", b"at 2026-11-12 13:14:15 by r2", True),
        (b"run_id: 1\nflavors: x\n", b"run_id: 2\nflavors: x\n", True),
        (b"run_id: 1\nflavors: x\n", b"run_id: 2\nflavors: y\n", False),
        (b"0.5", b"0.6", False),
        (b"\x000.5 2026-01-02T03:04", b"\x000.5 2026-01-02T03:05", False),  # no text
    ],
)
def test_what_is_never_the_same_twice(before: bytes, after: bytes, same: bool) -> None:
    names = ["r1", "r2", ""]
    assert (comparing.neutral(before, names) == comparing.neutral(after, names)) is same


def test_one_difference_decides() -> None:
    good = [Likened("metric", "a", 1.0, 1.0, Likeness.SAME), Likened("metric", "t", 1.0, 2.0, Likeness.APART)]
    assert reporting.conclude(good) == (Outcome.REPRODUCED, "1 of 1 comparisons agree, 1 left apart")
    wrong = Likened("metric", "b", 1.0, 2.0, Likeness.DIFFERS)
    assert reporting.conclude([*good, wrong]) == (Outcome.DIFFERS, "metric b differs")
    many = [Likened("file", str(number), None, None, Likeness.DIFFERS) for number in range(9)]
    assert reporting.conclude(many)[1].endswith("and 4 more differ")


def test_markdown_cannot_be_broken() -> None:
    likened = [Likened("metric", "a|b\n# c", 1.0, None, Likeness.DIFFERS)]
    report = Report("r", "n|m", Outcome.CANNOT, "why", missing=[Missing("lock", "x|y", "z")], likened=likened)
    text = reporting.markdown(report)
    assert "| differs | metric | a\\|b # c | 1 |  |  |" in text
    assert "| lock | x\\|y | z |" in text
