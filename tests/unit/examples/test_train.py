"""What is recorded beside the numbers: dataset descriptions, requirements, and failures."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.data.pandas_dataset import from_pandas

from examples.flights import features, train
from examples.flights.console import Console
from examples.flights.errors import DemoError
from tests.unit.examples.frames import flight, tables, weather

NOON = "2013-05-01T12:00:00Z"


def test_datasets_are_described_as_mlflow_would_from_all_rows(tmp_path: Path) -> None:
    days = [flight(f"2013-{month:02}-02T{hour:02}:00:00Z") for month in (1, 5) for hour in range(12, 20)]
    reports = [weather(NOON, wind_gust=np.nan), weather("2013-05-02T14:00:00Z", wind_dir=np.nan)]
    table = features.build(tables(days, reports))
    part = features.split(table)
    described = train.describe(table, part, tmp_path / "flights.csv.zip")
    frame = table.inputs.assign(late=table.late.astype(float))
    names = ("flights-train", "flights-test")
    for ours, mask, name in zip(described, (part.train, part.test), names, strict=True):
        whole = from_pandas(frame[mask], source=str(tmp_path / "flights.csv.zip"), targets="late", name=name)
        assert ours.to_json() == whole.to_json()


def test_schema_rows_hold_a_null_of_every_column_that_has_one() -> None:
    frame = pd.DataFrame({"never": range(6), "once": [1, 2, np.nan, 4, 5, 6], "at the end": [1, 2, 3, 4, 5, np.nan]})
    assert train.schema_rows(frame).index.tolist() == [0, 2, 5]


def test_models_name_their_locked_libraries() -> None:
    lock = "mlflow==3.17.2\nnumpy==2.4.6\npandas==3.1.1\nscikit-learn==1.9.1\n"
    assert train.locked_requirements(lock) == ("numpy==2.4.6", "pandas==3.1.1", "scikit-learn==1.9.1")


def broken() -> int:
    """A run that goes wrong."""
    raise ValueError("no such setting")


def quiet_session() -> Any:
    """As much of a session as `attempt` needs."""
    return SimpleNamespace(console=Console(1, io.StringIO()), tally=train.Tally())


def test_a_failing_run_is_recorded_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "healthy", lambda url: True)
    session = quiet_session()
    assert train.attempt(session, "model", broken) is None
    assert session.tally.failed == ["model: ValueError: no such setting"]
    assert "FAILED  model: ValueError: no such setting" in session.console.stream.getvalue()
    assert train.attempt(session, "model", lambda: 7) == 7


def test_a_failure_because_the_server_is_gone_ends_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "healthy", lambda url: False)
    session = quiet_session()
    with pytest.raises(DemoError, match="the server is gone"):
        train.attempt(session, "sweep", lambda: train.attempt(session, "setting", broken))
    assert session.tally.failed == []
