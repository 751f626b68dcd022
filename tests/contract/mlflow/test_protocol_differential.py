"""MLflow's tracking protocol, call by call: mlwright answers as a real MLflow server does, errors included."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.contract.mlflow.pair import Pair

pytestmark = pytest.mark.xdist_group("mlflow-protocol")
RUN = "{run:a}"
LONG = "x" * 501


def test_experiments_live_and_die(pair: Pair) -> None:
    exp = {"experiment_id": "{exp}"}
    pair.call("GET", "experiments/get", exp)
    pair.call("GET", "experiments/get-by-name", {"experiment_name": "{expname}"})
    pair.call("POST", "experiments/set-experiment-tag", {**exp, "key": "team", "value": "blue"})
    pair.call("POST", "experiments/set-experiment-tag", {**exp, "key": "team", "value": "red"})
    pair.call("GET", "experiments/get", exp)
    pair.call("POST", "experiments/delete-experiment-tag", {**exp, "key": "team"})
    pair.call("POST", "experiments/delete-experiment-tag", {**exp, "key": "team"})
    pair.call("POST", "experiments/delete", exp)
    pair.call("GET", "experiments/get", exp)
    pair.call("GET", "runs/get", {"run_id": RUN})
    pair.call("POST", "experiments/delete", exp)
    pair.call("POST", "runs/create", {**exp, "start_time": 1})
    pair.call("POST", "experiments/set-experiment-tag", {**exp, "key": "a", "value": "b"})
    pair.call("POST", "experiments/restore", exp)
    pair.call("POST", "experiments/restore", exp)
    pair.call("GET", "runs/get", {"run_id": RUN})


def test_a_run_from_start_to_end(pair: Pair) -> None:
    for key, value in (("lr", "0.1"), ("depth", ""), ("lr", "0.1"), ("lr", "0.2")):
        pair.call("POST", "runs/log-parameter", {"run_id": RUN, "key": key, "value": value})
    points: list[tuple[int, float | str]] = [(0, 1.0), (1, 0.5), (1, 0.5), (-3, 9)]
    points += [(2, "NaN"), (3, "Infinity"), (4, "-Infinity")]
    for step, number in points:
        message = {"run_id": RUN, "key": "loss", "value": number, "timestamp": 10 + abs(step), "step": step}
        pair.call("POST", "runs/log-metric", message)
    pair.call("POST", "runs/set-tag", {"run_id": RUN, "key": "note", "value": "x" * 8_000})
    pair.call("POST", "runs/set-tag", {"run_id": RUN, "key": "mlflow.runName", "value": "renamed"})
    pair.call("POST", "runs/delete-tag", {"run_id": RUN, "key": "note"})
    pair.call("POST", "runs/delete-tag", {"run_id": RUN, "key": "note"})
    pair.call("GET", "runs/get", {"run_id": RUN})
    pair.call("POST", "runs/update", {"run_id": RUN, "status": "FINISHED", "end_time": 2_000, "run_name": "last"})
    pair.call("GET", "runs/get", {"run_uuid": RUN})
    pair.call("GET", "metrics/get-history", {"run_id": RUN, "metric_key": "loss"})
    pair.call("GET", "metrics/get-history", {"run_id": RUN, "metric_key": "none"})
    pair.call("POST", "runs/delete", {"run_id": RUN})
    pair.call("POST", "runs/log-metric", {"run_id": RUN, "key": "loss", "value": 1, "timestamp": 1})
    pair.call("POST", "runs/restore", {"run_id": RUN})
    pair.call("POST", "runs/search", {"experiment_ids": ["{exp}"]})


def test_inputs_and_outputs(pair: Pair) -> None:
    dataset = {"name": "flights", "digest": "abc", "source_type": "local", "source": "{}", "schema": "{}"}
    tags = [{"key": "mlflow.data.context", "value": "train"}]
    for _ in range(2):
        pair.call("POST", "runs/log-inputs", {"run_id": RUN, "datasets": [{"dataset": dataset, "tags": tags}]})
    model = {"experiment_id": "{exp}", "name": "tree", "source_run_id": RUN, "model_type": "classifier"}
    learn = {"model": "model.info.model_id"}
    pair.call("POST", "logged-models", {**model, "params": [{"key": "a", "value": "1"}]}, learn=learn)
    pair.call("POST", "runs/outputs", {"run_id": RUN, "models": [{"model_id": "{model}", "step": 3}]})
    pair.call("POST", "runs/log-inputs", {"run_id": RUN, "models": [{"model_id": "{model}"}]})
    metric = {"key": "auc", "value": 0.7, "timestamp": 5, "step": 1, "model_id": "{model}"}
    named = {**metric, "dataset_name": "flights", "dataset_digest": "abc"}
    pair.call("POST", "runs/log-batch", {"run_id": RUN, "metrics": [named]})
    pair.call("PATCH", "logged-models/{model}/tags", {"tags": [{"key": "k", "value": "v"}]})
    pair.call("PATCH", "logged-models/{model}", {"model_id": "{model}", "status": "LOGGED_MODEL_READY"})
    pair.call("GET", "logged-models/{model}")
    pair.call("DELETE", "logged-models/{model}/tags/k")
    pair.call("DELETE", "logged-models/{model}/tags/k")
    pair.call("POST", "logged-models/search", {"experiment_ids": ["{exp}"], "filter": "name = 'tree'"})
    pair.call("GET", "runs/get", {"run_id": RUN})
    pair.call("POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", {"experiment_ids": ["{exp}"]})
    pair.call("DELETE", "logged-models/{model}")
    pair.call("GET", "logged-models/{model}")
    pair.call("GET", "logged-models/m-unknown")


def test_artifacts(pair: Pair) -> None:
    root = "/api/2.0/mlflow-artifacts/artifacts/{exp}/{run:a}/artifacts"
    for name in ("a.txt", "plots/roc curve+1%25.png", "plots/deep/空.json", "empty"):
        pair.call("PUT", f"{root}/{name}", raw=b"" if name == "empty" else b"content of " + name.encode())
    pair.call("PUT", f"{root}/a.txt", raw=b"overwritten")
    pair.call("GET", "artifacts/list", {"run_id": RUN})
    pair.call("GET", "artifacts/list", {"run_id": RUN, "path": "plots"})
    pair.call("GET", "artifacts/list", {"run_id": RUN, "path": "nothing"})
    pair.call("GET", "/api/2.0/mlflow-artifacts/artifacts", {"path": "{exp}/{run:a}/artifacts/plots"})
    pair.call("GET", "/get-artifact", {"run_id": RUN, "path": "a.txt"})
    pair.call("GET", f"{root}/a.txt")
    pair.call("DELETE", f"{root}/plots")
    pair.call("GET", "artifacts/list", {"run_id": RUN})
    for path in ("../x", "/etc/passwd", "%2e%2e/x", "a/../../x", "C:/x"):
        pair.call("GET", "artifacts/list", {"run_id": RUN, "path": path})


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("POST", "experiments/create", {}),
        ("POST", "experiments/create", {"name": ""}),
        ("POST", "experiments/create", {"name": 5}),
        ("POST", "experiments/create", {"name": LONG}),
        ("POST", "experiments/create", {"name": "x", "artifact_location": "runs:/a"}),
        ("POST", "experiments/create", {"name": ["x"]}),
        ("GET", "experiments/get", {"experiment_id": "999999"}),
        ("GET", "experiments/get", {"experiment_id": "abc"}),
        ("GET", "experiments/get", {}),
        ("GET", "experiments/get-by-name", {"experiment_name": "no such experiment"}),
        ("GET", "experiments/get-by-name", {}),
        ("POST", "experiments/delete", {"experiment_id": "999999"}),
        ("POST", "experiments/update", {"experiment_id": "999999", "new_name": "x"}),
        ("POST", "runs/create", {"experiment_id": "999999"}),
        ("POST", "runs/create", {"experiment_id": 1}),
        ("POST", "runs/create", {"experiment_id": "{exp}", "start_time": "soon"}),
        (
            "POST",
            "runs/create",
            {"experiment_id": "{exp}", "run_name": "a", "tags": [{"key": "mlflow.runName", "value": "b"}]},
        ),
        ("GET", "runs/get", {}),
        ("GET", "runs/get", {"run_id": "nope"}),
        ("POST", "runs/update", {"run_id": "nope"}),
        ("POST", "runs/update", {}),
        ("POST", "runs/delete", {"run_id": "nope"}),
        ("POST", "runs/restore", {"run_id": "nope"}),
        ("POST", "runs/log-metric", {"run_id": RUN}),
        ("POST", "runs/log-metric", {"run_id": RUN, "key": "k", "timestamp": 1}),
        ("POST", "runs/log-metric", {"run_id": RUN, "key": "k", "value": 1}),
        ("POST", "runs/log-metric", {"run_id": RUN, "key": "k", "value": "much", "timestamp": 1}),
        ("POST", "runs/log-metric", {"run_id": RUN, "key": "k", "value": 1, "timestamp": -1}),
        ("POST", "runs/log-metric", {"run_id": RUN, "key": "", "value": 1, "timestamp": 1}),
        ("POST", "runs/log-metric", {"run_id": RUN, "key": "a/../b", "value": 1, "timestamp": 1}),
        ("POST", "runs/log-metric", {"run_id": RUN, "key": "what?", "value": 1, "timestamp": 1}),
        ("POST", "runs/log-metric", {"run_id": RUN, "key": "k" * 251, "value": 1, "timestamp": 1}),
        ("POST", "runs/log-metric", {"run_id": "nope", "key": "k", "value": 1, "timestamp": 1}),
        ("POST", "runs/log-parameter", {"run_id": RUN, "key": "/abs", "value": "1"}),
        ("POST", "runs/log-parameter", {"run_id": RUN, "value": "1"}),
        ("POST", "runs/log-parameter", {"run_id": RUN, "key": "p", "value": 7}),
        ("POST", "runs/set-tag", {"run_id": RUN, "key": "a//b", "value": "1"}),
        ("POST", "runs/set-tag", {"run_id": RUN, "value": "1"}),
        ("POST", "runs/log-batch", {"metrics": []}),
        ("POST", "runs/log-batch", {"run_id": RUN, "metrics": [{"key": "a", "value": 1}]}),
        ("POST", "runs/log-batch", {"run_id": RUN, "metrics": [{"value": 1, "timestamp": 1}]}),
        ("POST", "runs/log-batch", {"run_id": RUN, "params": [{"value": "1"}]}),
        ("POST", "runs/log-batch", {"run_id": RUN, "metrics": {"a": 1}}),
        (
            "POST",
            "runs/log-batch",
            {"run_id": RUN, "params": [{"key": "a", "value": "1"}, {"key": "a", "value": "1"}]},
        ),
        (
            "POST",
            "runs/log-batch",
            {"run_id": RUN, "metrics": [{"key": "m", "value": 1, "timestamp": 1} for _ in range(1_001)]},
        ),
        ("POST", "runs/log-batch", {"run_id": RUN, "tags": [{"key": f"t{i}", "value": "1"} for i in range(101)]}),
        ("POST", "runs/log-inputs", {"run_id": "nope", "datasets": []}),
        ("POST", "runs/search", {"experiment_ids": ["{exp}"], "max_results": 50_001}),
        ("POST", "runs/search", {"experiment_ids": ["{exp}"], "filter": "metrics.a = 'x'"}),
        ("POST", "runs/search", {"experiment_ids": ["{exp}"], "page_token": "garbage"}),
        ("POST", "runs/search", {"experiment_ids": "{exp}"}),
        ("POST", "runs/search", {}),
        ("GET", "metrics/get-history", {"run_id": RUN}),
        ("GET", "metrics/get-history", {"metric_key": "x"}),
        ("GET", "metrics/get-history", {"run_id": RUN, "metric_key": "x", "max_results": 0}),
        ("GET", "metrics/get-history", {"run_id": "nope", "metric_key": "x"}),
        ("GET", "metrics/get-history-bulk-interval", {"run_ids": [RUN], "metric_key": "x", "max_results": 0}),
        ("GET", "metrics/get-history-bulk-interval", {"run_ids": [RUN], "metric_key": "x", "start_step": 1}),
        (
            "GET",
            "metrics/get-history-bulk-interval",
            {"run_ids": [RUN], "metric_key": "x", "start_step": 5, "end_step": 1},
        ),
        ("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", {"metric_key": "x"}),
        ("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", {"run_id": [RUN]}),
        ("POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", {"experiment_ids": []}),
        ("POST", "logged-models", {"name": "m"}),
        ("POST", "logged-models", {"experiment_id": "{exp}", "name": "a/b"}),
        ("POST", "logged-models/search", {}),
        ("GET", "artifacts/list", {"run_id": "nope"}),
        ("GET", "artifacts/list", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_refusals(pair: Pair, method: str, path: str, message: dict[str, Any]) -> None:
    pair.call(method, path, message)


KEYS = ["loss", "acc", "val/loss", "π"]
POINTS = st.fixed_dictionaries(
    {
        "key": st.sampled_from(KEYS),
        "value": st.one_of(
            # Not -0.0: MLflow's SQLite column turns it into 0 and then sorts it after other values.
            st.sampled_from([0.0, 1.5, "NaN", "Infinity", "-Infinity", 1e-320, 1.7976931348623157e308]),
            st.floats(allow_nan=False, allow_infinity=False).filter(lambda value: value != 0),
        ),
        "timestamp": st.integers(0, 6),
        "step": st.integers(-2, 5),
    }
)


@given(batches=st.lists(st.lists(POINTS, min_size=1, max_size=12), min_size=1, max_size=5), size=st.integers(1, 6))
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking over two servers takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_metric_histories(pair: Pair, batches: list[list[dict[str, Any]]], size: int) -> None:
    """Any points in any order: the same latest values, histories, pages and samples."""
    start = {"experiment_id": "{exp}", "start_time": 1, "run_name": "points"}
    pair.call("POST", "runs/create", start, learn={"run:points": "run.info.run_id"})
    run = "{run:points}"
    for batch in batches:
        pair.call("POST", "runs/log-batch", {"run_id": run, "metrics": batch})
    pair.call("GET", "runs/get", {"run_id": run})
    for key in KEYS:
        where = {"run_id": run, "metric_key": key}
        pair.call("GET", "metrics/get-history", where)
        pair.call("GET", "metrics/get-history", {**where, "max_results": size})
        sample = {"run_ids": [run], "metric_key": key, "max_results": size}
        pair.call("GET", "metrics/get-history-bulk-interval", sample)
        pair.call("GET", "metrics/get-history-bulk-interval", {**sample, "start_step": -1, "end_step": 3})
