"""Train the candidates and record everything with ordinary MLflow client code."""

from __future__ import annotations

import importlib.util
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import mlflow
import numpy as np
import pandas as pd
from mlflow.data.pandas_dataset import PandasDataset, from_pandas
from mlflow.entities import Metric
from mlflow.models import infer_signature
from sklearn.pipeline import Pipeline

from examples.flights import evaluate, models, plots, report
from examples.flights.capture import Capture
from examples.flights.console import Console
from examples.flights.errors import DemoError
from examples.flights.evaluate import Evaluation
from examples.flights.features import FlightTable, Mask, Split
from examples.flights.models import Candidate
from examples.flights.server import healthy

EXPERIMENT = "flights-late"
SESSION_TAG = "demo.session"
SWEEP_NAME = "gradient boosting, sweep"
EXAMPLE_ROWS = 5
EVALUATION = "evaluation.parquet"
EVALUATED_ROWS = 100_000
SERVER_LOG_HINT = "look at the end of its log: mlwright logs --data DIR"
T = TypeVar("T")
REQUIREMENTS = ("numpy", "pandas", "scikit-learn", "skops")


@dataclass
class Tally:
    """What was sent and acknowledged, for the closing account."""

    metric_points: int = 0
    params: int = 0
    files: int = 0
    models: int = 0
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Session:
    """What all runs of one demo share. `datasets` are described once, because that takes seconds."""

    id: str
    table: FlightTable
    split: Split
    capture: Capture
    datasets: tuple[PandasDataset, PandasDataset]
    requirements: tuple[str, ...]
    console: Console
    tally: Tally = field(default_factory=Tally)

    def rows(self, mask: Mask) -> tuple[pd.DataFrame, Mask]:
        """Inputs and labels of the masked rows."""
        return self.table.inputs[mask], self.table.late[mask]


class DescribedDataset(PandasDataset):  # type: ignore[misc]  # mlflow is not in the environment that checks types
    """A dataset of many rows whose schema is that of a few chosen ones (`schema_rows`).

    MLflow looks at every value of every column in Python: seven seconds for these tables.
    """

    def __init__(self, frame: pd.DataFrame, few: PandasDataset) -> None:
        super().__init__(frame, source=few.source, targets=few.targets, name=few.name)
        self._few = few

    @property
    def schema(self) -> Any:
        """Column names, types, and whether they are ever null."""
        return self._few.schema


def schema_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The first row, and the first row with a null of every column that has nulls: enough to tell the schema."""
    nulls = frame.isna().to_numpy()
    return frame.iloc[np.unique([0, *nulls.argmax(axis=0)])]


def describe(table: FlightTable, part: Split, source: Path) -> tuple[PandasDataset, PandasDataset]:
    """MLflow datasets of the training and the test rows, with schema and digest."""
    frame = table.inputs.assign(late=table.late.astype(np.float64))

    def dataset(name: str, rows: pd.DataFrame) -> PandasDataset:
        return DescribedDataset(rows, from_pandas(schema_rows(rows), source=str(source), targets="late", name=name))

    with warnings.catch_warnings():
        # A local path fits several of MLflow's source classes, which mean the same.
        warnings.filterwarnings("ignore", message="The specified dataset source can be interpreted")
        return dataset("flights-train", frame[part.train]), dataset("flights-test", frame[part.test])


def locked_requirements(lock: str) -> tuple[str, ...]:
    """The lines of a lock text that a logged model needs to be loaded."""
    lines = dict(line.split("==") for line in lock.splitlines())
    return tuple(f"{name}=={lines[name]}" for name in REQUIREMENTS if name in lines)


def attempt(session: Session, name: str, action: Callable[[], T]) -> T | None:
    """Run one action; a failure is recorded and shown, and the next run still gets its turn.

    MLflow's run context has marked the run FAILED by then. Raises DemoError when the server is gone.
    """
    try:
        return action()
    except DemoError:
        raise
    except Exception as error:  # a run is a boundary: whatever broke it must not take the others along
        reason = f"{name}: {type(error).__name__}: {error}"
        if not healthy(mlflow.get_tracking_uri()):
            raise DemoError(f"the server is gone ({reason})", SERVER_LOG_HINT) from error
        session.tally.failed.append(reason)
        session.console.note(f"FAILED  {reason}")
        return None


def run_candidate(session: Session, candidate: Candidate) -> Evaluation:
    """One run: learn with a curve on the validation rows, refit on all training rows, score on later months."""
    note = report.candidate_note(candidate, session.split)
    with mlflow.start_run(run_name=candidate.name, description=note, tags=tags(session, "candidate")):
        log_setting(session, candidate)
        learn_with_curve(session, candidate)
        return refit_and_score(session, candidate)


def run_sweep(session: Session, grid: Sequence[Mapping[str, Any]]) -> Evaluation:
    """A parent run with one nested run per setting; the best on the validation rows is refitted and scored.

    Raises RuntimeError when every setting failed.
    """
    system_metrics = importlib.util.find_spec("psutil") is not None
    if not system_metrics:
        session.console.note("no system metrics: psutil is not installed")
    with mlflow.start_run(
        run_name=SWEEP_NAME,
        description=report.sweep_note(len(grid)),
        tags=tags(session, "sweep"),
        log_system_metrics=system_metrics,
    ):
        found: list[tuple[float, Candidate]] = []
        for settings in grid:
            candidate = models.sweep_candidate(settings)
            loss = attempt(session, candidate.name, partial(run_setting, session, candidate))
            if loss is not None:
                found.append((loss, candidate))
        if not found:
            raise RuntimeError("every setting of the sweep failed")
        loss, best = min(found, key=lambda pair: pair[0])
        session.console.note(f"best on the validation rows: {best.name} (log loss {loss:.4f})")
        winner = Candidate(SWEEP_NAME, best.family, best.columns, best.settings)
        log_setting(session, winner)
        mlflow.log_metric("valid_log_loss", loss)
        session.tally.metric_points += 1
        return refit_and_score(session, winner)


def run_setting(session: Session, candidate: Candidate) -> float:
    """One nested run of the sweep; returns the log loss on the validation rows."""
    with mlflow.start_run(run_name=candidate.name, nested=True, tags=tags(session, "setting")):
        log_setting(session, candidate)
        loss = learn_with_curve(session, candidate)
        log_folder(session, {})
        return loss


def tags(session: Session, role: str) -> dict[str, str]:
    """The tags of every run: which demo made it, its role, and how to repeat it."""
    return {SESSION_TAG: session.id, "demo.role": role, **session.capture.tags}


def log_setting(session: Session, candidate: Candidate) -> None:
    """Parameters and datasets of the current run."""
    params = {"family": candidate.family, "features": candidate.feature_set, "inputs": len(candidate.columns)}
    params |= {"fit_rows": int(session.split.fit.sum()), "train_rows": int(session.split.train.sum())}
    params |= {f"model.{key}": value for key, value in candidate.settings.items()}
    mlflow.log_params(params)
    session.tally.params += len(params)
    mlflow.log_inputs(datasets=list(session.datasets), contexts=["training", "testing"], tags_list=[None, None])


def learn_with_curve(session: Session, candidate: Candidate) -> float:
    """Train on the fit rows, log the validation curve by step in one call, and return the last log loss."""
    inputs, late = session.rows(session.split.fit)
    valid, valid_late = session.rows(session.split.valid)
    points = evaluate.curve(valid_late, models.learn(candidate, inputs, late, valid))
    losses = [("valid_log_loss", loss, step) for step, loss, _ in points]
    log_points(session, losses + [("valid_auc", auc, step) for step, _, auc in points])
    return points[-1][1]


def refit_and_score(session: Session, candidate: Candidate) -> Evaluation:
    """Fit on all training rows, score on the test rows, and log model, metrics, plots and tables."""
    inputs, late = session.rows(session.split.train)
    started = time.perf_counter()
    pipeline = models.fit(candidate, inputs, late)
    seconds = time.perf_counter() - started
    test, test_late = session.rows(session.split.test)
    probability = models.late_probability(pipeline, test)
    found = evaluate.evaluate(test_late, probability, session.table.month[session.split.test], float(late.mean()))
    model_id = log_model(session, pipeline, inputs[list(candidate.columns)].head(EXAMPLE_ROWS))
    log_evaluation(session, found, model_id)
    log_scores(session, candidate, found, model_id, seconds)
    log_folder(session, candidate_files(candidate, found))
    golden = "" if candidate.golden_auc is None else f", golden {candidate.golden_auc:.4f}"
    session.console.note(f"{candidate.name}: AUC {found.overall.auc:.4f}{golden}, trained in {seconds:.1f} s")
    return found


def log_model(session: Session, pipeline: Pipeline, example: pd.DataFrame) -> str:
    """Log the pipeline with signature and input example, stored without pickle; returns the model's id."""
    info = mlflow.sklearn.log_model(
        pipeline,
        name="model",
        signature=infer_signature(example, pipeline.predict_proba(example)),
        input_example=example,
        pip_requirements=list(session.requirements),
        pyfunc_predict_fn="predict_proba",
        serialization_format="skops",
        skops_trusted_types=list(models.TRUSTED_TYPES),
    )
    session.tally.models += 1
    return str(info.model_id)


def log_evaluation(session: Session, found: Evaluation, model_id: str) -> None:
    """Lay what the model says of single test rows beside it: gates decide on that. Every model has the same rows."""
    flights = np.flatnonzero(session.split.test)
    chosen = np.linspace(0, len(flights) - 1, min(len(flights), EVALUATED_ROWS)).astype(int)
    probability = found.probability[chosen]
    frame = pd.DataFrame(
        {
            "flight": flights[chosen],
            "late": found.late[chosen].astype(np.int8),
            "predicted": (probability >= found.threshold).astype(np.int8),
            "probability": probability,
            "month": session.table.month[flights[chosen]],
            "carrier": session.table.inputs["carrier"].to_numpy()[flights[chosen]],
        }
    )
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, EVALUATION)
        frame.to_parquet(path, index=False)
        mlflow.MlflowClient().log_model_artifact(model_id, str(path))


def log_scores(session: Session, candidate: Candidate, found: Evaluation, model_id: str, seconds: float) -> None:
    """Test metrics (linked to the model and the test rows), and the same by month with the month as step."""
    metrics = found.overall.metrics("test") | {"train_seconds": seconds, "threshold": found.threshold}
    if candidate.golden_auc is not None:
        metrics["golden_auc_difference"] = found.overall.auc - candidate.golden_auc
    mlflow.log_metrics(metrics, model_id=model_id, dataset=session.datasets[1])
    session.tally.metric_points += len(metrics)
    months = [(key, value, step) for step, one in found.by_month.items() for key, value in one.metrics("month").items()]
    log_points(session, months)


def log_points(session: Session, points: Sequence[tuple[str, float, int]]) -> None:
    """(metric, value, step) points of the current run in as few calls as the protocol allows."""
    run = mlflow.active_run()
    if run is None:
        raise RuntimeError("no active run")
    now = int(time.time() * 1000)
    entities = [Metric(key, value, now, step) for key, value, step in points]
    for start in range(0, len(entities), 1000):
        mlflow.MlflowClient().log_batch(run.info.run_id, metrics=entities[start : start + 1000])
    session.tally.metric_points += len(entities)


def candidate_files(candidate: Candidate, found: Evaluation) -> dict[str, Any]:
    """Plots and tables of one model, by artifact path."""
    months = report.months_table(found)
    return {
        "plots/roc.png": plots.roc({candidate.name: found}),
        "plots/calibration.png": plots.calibration({candidate.name: found}),
        "plots/confusion.png": plots.confusion(found),
        "tables/by_month.csv": months.to_csv(index=False),
        "tables/by_month.json": json.dumps(months.to_dict(orient="split", index=False), indent=1),
    }


def log_folder(session: Session, files: Mapping[str, Any]) -> None:
    """Log texts and figures by artifact path, together with the environment files, in one call."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = session.capture.write(folder)
        for path, content in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                target.write_text(content, encoding="utf-8")
            else:
                content.savefig(target, dpi=90)
        mlflow.log_artifacts(str(folder))
    session.tally.files += count + len(files)


def run_comparison(session: Session, evaluations: Mapping[str, Evaluation]) -> None:
    """A last run with what belongs to all models together: overlaid plots, a ranking, an HTML report, a note."""
    note = report.comparison_note(evaluations)
    with mlflow.start_run(run_name="comparison", description=note, tags=tags(session, "comparison")):
        figures = {
            "plots/roc.png": plots.roc(evaluations),
            "plots/calibration.png": plots.calibration(evaluations),
            "plots/by_month.png": plots.by_month(evaluations),
        }
        ranking = report.ranking_table(evaluations)
        page = report.html_page(ranking, figures)
        tables = {"ranking.csv": ranking.to_csv(index=False), "report.html": page, "note.md": note}
        log_folder(session, figures | tables)
        mlflow.log_table(ranking, artifact_file="ranking.json")
        session.tally.files += 1
    mlflow.set_experiment_tag("mlflow.note.content", note)
