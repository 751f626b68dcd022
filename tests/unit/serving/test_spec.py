"""What an endpoint may be asked to be: nothing that a host could not keep."""

from typing import Any

import msgspec
import pytest

from mlwright.serving.spec import Endpoint, model_reference


@pytest.mark.parametrize(
    "asked",
    [
        {"limits": {"memoryMib": 2**53}},
        {"limits": {"queue": 10**24}},
        {"limits": {"perKeyPerSecond": -0.1}},
        {"logging": {"keepDays": 10**12}},
        {"logging": {"keepMib": 10**12}},
        {"scaling": {"max": 100_000}},
        {"scaling": {"max": 0, "min": 0}},
        {"rollout": {"steps": [50, 5]}},
    ],
)
def test_what_no_machine_can_do_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"model": "tree/1", **asked}, Endpoint)


def test_a_version_is_a_number_that_can_be_stored() -> None:
    assert model_reference(f"tree/{10**17}").version == 10**17
    with pytest.raises(ValueError, match="neither MODEL@ALIAS nor MODEL/VERSION"):
        model_reference(f"tree/{10**25}")
