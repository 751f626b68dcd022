"""Where the demo's runs go."""

from __future__ import annotations

import pytest

from examples.flights.__main__ import directed


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, None),
        ({"MLFLOW_TRACKING_URI": "http://there"}, None),  # of another project of the user's
        ({"MLFLOW_TRACKING_URI": "sqlite:///here.db", "MLFLOW_RUN_CONTEXT": "{}"}, None),
        ({"MLFLOW_TRACKING_URI": "http://there", "MLFLOW_RUN_CONTEXT": "{}"}, "http://there"),
    ],
)
def test_only_who_starts_it_for_its_runs_says_where_they_go(environment: dict[str, str], url: str | None) -> None:
    assert directed(environment) == url
