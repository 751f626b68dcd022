"""MLflow's dialect: how errors look in it."""

import json

import pytest

from mlwright.kernel import errors
from mlwright.kernel.errors import Invalid, MlwrightError, StorageFull, Unauthenticated
from mlwright.kernel.protojson import show_error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            Unauthenticated("Who are you?", hint="set MLFLOW_TRACKING_TOKEN"),
            "Who are you? Hint: set MLFLOW_TRACKING_TOKEN",
        ),
        (StorageFull("The disk is full", hint="make room"), "The disk is full Hint: make room"),
        (Invalid("MLflow's own words", hint="something else"), "MLflow's own words"),
    ],
)
def test_hints_follow_where_mlflow_has_no_words_of_its_own(error: MlwrightError, message: str) -> None:
    assert json.loads(bytes(show_error(error).body))["message"] == message


def test_every_error_has_a_code_that_mlflows_clients_know() -> None:
    """One without would look like a defect of ours, and be tried again for minutes."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MlwrightError)]
    unknown = {kind for kind in kinds if kind.status < 500 and show_error(kind("what")).status_code >= 500}
    assert not unknown
