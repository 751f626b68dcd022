"""The ranking as it is printed, and the checks of what the server holds."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from examples.flights.errors import DemoError
from examples.flights.readback import Account, check, ranking_lines
from examples.flights.train import Tally


def run(name: str, auc: float, difference: float | None) -> Any:
    """A scored run as the client library gives it."""
    metrics = {"test_auc": auc, "test_log_loss": 0.5, "test_brier": 0.2, "test_calibration_error": 0.01}
    metrics |= {"train_seconds": 1.0} | ({} if difference is None else {"golden_auc_difference": difference})
    return SimpleNamespace(info=SimpleNamespace(run_name=name), data=SimpleNamespace(metrics=metrics))


def test_ranking_marks_what_is_far_from_golden() -> None:
    lines = ranking_lines([run("far", 0.7, -0.011), run("near", 0.69, 0.009), run("other", 0.6, None)])
    assert ["differs from golden" in line for line in lines] == [False, True, False, False]
    assert "0.7110" in lines[1]
    assert "0.6810" in lines[2]
    assert " - " in lines[3]


def account(**changes: Any) -> Account:
    """A server that holds three finished runs and four files."""
    return replace(Account(3, 3, 0, (), artifacts=4, artifact_bytes=9, curve_points=2), **changes)


def test_check_accepts_what_was_sent() -> None:
    check(account(), Tally(files=4), expected_runs=3)


@pytest.mark.parametrize("changes", [{"runs": 2}, {"finished": 2}, {"artifacts": 3}])
def test_check_finds_what_is_missing(changes: dict[str, int]) -> None:
    with pytest.raises(DemoError):
        check(account(**changes), Tally(files=4), expected_runs=3)
