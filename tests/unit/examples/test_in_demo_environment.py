"""Runs the tests that need pandas, scikit-learn and mlflow with the demo's own interpreter."""

from __future__ import annotations

from pathlib import Path

from tests.unit.examples.environment import run_pytest


def test_client_side_tests_pass_in_the_demo_environment() -> None:
    done = run_pytest(str(Path(__file__).parent.relative_to(Path.cwd())), seconds=180)
    assert done.returncode == 0, done.stdout
    # The tests of the features must be among those that ran: collecting none of them would prove nothing.
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout, done.stdout
