"""Ask the server what it holds now: the ranking and the account come from there, not from memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.entities import Run

from examples.flights.errors import DemoError
from examples.flights.train import SESSION_TAG, Tally

RUNS = 200
CHECKED_ROWS = 1000
SERVER_HINT = "this is a fault of the server: please report it with the server's log"


@dataclass(frozen=True)
class Account:
    """The runs of one demo as the server tells them; `artifacts` counts files over all of them."""

    runs: int
    finished: int
    failed: int
    ranked: tuple[Run, ...]
    artifacts: int
    artifact_bytes: int
    curve_points: int


def account(experiment_id: str, session_id: str) -> Account:
    """Search the demo's runs, rank the scored ones, and count what they hold."""
    ours = f"tags.`{SESSION_TAG}` = '{session_id}'"
    runs = _search(experiment_id, ours, ["attributes.start_time ASC"])
    ranked = _search(experiment_id, f"{ours} AND metrics.test_auc > 0", ["metrics.test_auc DESC"])
    sizes = [size for run in runs for size in _file_sizes(run.info.run_id, None)]
    client = mlflow.MlflowClient()
    curve = client.get_metric_history(ranked[0].info.run_id, "valid_auc") if ranked else []
    states = [run.info.status for run in runs]
    finished, failed = states.count("FINISHED"), states.count("FAILED")
    return Account(len(runs), finished, failed, tuple(ranked), len(sizes), sum(sizes), len(curve))


def check_model(found: Account, inputs: pd.DataFrame, expected: npt.NDArray[np.float64]) -> None:
    """Load the best model from the server and raise DemoError unless it predicts what the trained one did.

    The model is found the way a user finds it: as an output of its run. The first rows are enough to tell.
    """
    outputs = mlflow.get_run(found.ranked[0].info.run_id).outputs
    if outputs is None or not outputs.model_outputs:
        raise DemoError("the best run has no model among its outputs", SERVER_HINT)
    model = mlflow.pyfunc.load_model(f"models:/{outputs.model_outputs[0].model_id}")
    names = model.metadata.get_input_schema().input_names()
    again = model.predict(inputs[names].head(CHECKED_ROWS))[:, 1]
    if not np.allclose(again, expected[:CHECKED_ROWS]):
        raise DemoError("the best model predicts something else after it was loaded from the server", SERVER_HINT)


def check(found: Account, tally: Tally, expected_runs: int) -> None:
    """Raise DemoError when the server does not hold what it acknowledged."""
    if found.runs != expected_runs or found.finished + found.failed != found.runs:
        raise DemoError(
            f"{expected_runs} runs were logged, the server has {found.runs} ({found.finished} finished)", SERVER_HINT
        )
    if found.artifacts != tally.files:
        raise DemoError(f"{tally.files} files were uploaded, the server lists {found.artifacts}", SERVER_HINT)


def ranking_lines(ranked: Sequence[Run]) -> list[str]:
    """The ranking as a plain table, one line per model, best first."""
    lines = [f"     {'model':<40} {'AUC':>7} {'golden':>7} {'log loss':>9} {'Brier':>7} {'calibr.':>8} {'train s':>8}"]
    for place, run in enumerate(ranked, start=1):
        got = run.data.metrics
        difference = got.get("golden_auc_difference")
        golden = "-" if difference is None else f"{got['test_auc'] - difference:.4f}"
        mark = "  differs from golden by more than 0.01" if difference is not None and abs(difference) > 0.01 else ""
        lines.append(
            f"{place:>3}. {run.info.run_name:<40} {got['test_auc']:>7.4f} {golden:>7} {got['test_log_loss']:>9.4f} "
            f"{got['test_brier']:>7.4f} {got['test_calibration_error']:>8.4f} {got['train_seconds']:>8.2f}{mark}"
        )
    return lines


def _search(experiment_id: str, query: str, order: list[str]) -> list[Run]:
    found: list[Run] = mlflow.search_runs(
        experiment_ids=[experiment_id], filter_string=query, order_by=order, max_results=RUNS, output_format="list"
    )
    return found


def _file_sizes(run_id: str, folder: str | None) -> list[int]:
    sizes: list[int] = []
    for entry in mlflow.MlflowClient().list_artifacts(run_id, folder):
        sizes += _file_sizes(run_id, entry.path) if entry.is_dir else [entry.file_size or 0]
    return sizes
