"""Jobs done with the real MLflow client. Runs in a venv that has only `mlflow`: no import from this project.

Protocol: one JSON object a line on standard input, `{"job": name, "url": URI, ...arguments}`; one
JSON object a line on standard output, `{"result": ...}` or `{"error": text}`. mlflow is imported once.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(
    MLFLOW_DISABLE_TELEMETRY="true",
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
    MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING="false",
)
import mlflow
from mlflow import MlflowClient

EXPERIMENT = "0"


def log_metric(url: str, seconds: float, processes: int) -> dict[str, float]:
    """`processes` clients, a run each, log metrics one by one for `seconds`; metrics per second of all."""

    def work(deadline: float) -> int:
        client = MlflowClient(url)
        run_id = client.create_run(EXPERIMENT).info.run_id
        count = 0
        while time.time() < deadline:
            client.log_metric(run_id, "loss", 1.0 / (count + 1), step=count)
            count += 1
        return count

    return _in_processes(work, seconds, processes)


def whole_run(url: str, seconds: float, processes: int) -> dict[str, float]:
    """start_run, ten parameters, ten metrics, end: whole runs per second of all processes together."""

    def work(deadline: float) -> int:
        mlflow.set_tracking_uri(url)
        count = 0
        while time.time() < deadline:
            with mlflow.start_run():
                mlflow.log_params({f"p{number}": number for number in range(10)})
                mlflow.log_metrics({f"m{number}": float(number) for number in range(10)}, step=1)
            count += 1
        return count

    return _in_processes(work, seconds, processes)


def history(url: str, run_id: str, key: str) -> dict[str, float]:
    """Read one whole metric history with the client; seconds and points."""
    begin = time.perf_counter()
    points = MlflowClient(url).get_metric_history(run_id, key)
    return {"seconds": time.perf_counter() - begin, "points": len(points)}


def transfer_file(url: str, path: str) -> dict[str, float]:
    """Log one file as an artifact and download it again; bytes per second each way."""
    client = MlflowClient(url)
    run_id = client.create_run(EXPERIMENT).info.run_id
    source = Path(path)
    begin = time.perf_counter()
    client.log_artifact(run_id, path)
    up = time.perf_counter() - begin
    down, target = _download(url, run_id, source.name, source.parent)
    size = source.stat().st_size
    if next(target.rglob(source.name)).stat().st_size != size:
        raise RuntimeError("the download has another size")
    shutil.rmtree(target)
    return {"up_bytes_per_second": size / up, "down_bytes_per_second": size / down}


def transfer_folder(url: str, path: str) -> dict[str, float]:
    """Log a folder of files as artifacts and download it again; files per second each way."""
    client = MlflowClient(url)
    run_id = client.create_run(EXPERIMENT).info.run_id
    source = Path(path)
    files = len(list(source.iterdir()))
    begin = time.perf_counter()
    client.log_artifacts(run_id, path, "files")
    up = time.perf_counter() - begin
    down, target = _download(url, run_id, "files", source.parent)
    if len([entry for entry in target.rglob("*") if entry.is_file()]) != files:
        raise RuntimeError("files are missing in the download")
    shutil.rmtree(target)
    return {"up_files_per_second": files / up, "down_files_per_second": files / down}


def _download(url: str, run_id: str, artifact: str, near: Path) -> tuple[float, Path]:
    """Download into a fresh folder beside the source; seconds and that folder."""
    target = near / f"down-{run_id}"
    target.mkdir()
    begin = time.perf_counter()
    mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=artifact, dst_path=str(target), tracking_uri=url)
    return time.perf_counter() - begin, target


def _in_processes(work: Callable[[float], int], seconds: float, processes: int) -> dict[str, float]:
    """Fork workers that all start at one moment; operations per second from there to the end of the last."""
    begin = time.time() + 0.5
    pipes: list[int] = []
    for _ in range(processes):
        read_end, write_end = os.pipe()
        if os.fork() == 0:
            _worker(work, begin, begin + seconds, write_end)
        os.close(write_end)
        pipes.append(read_end)
    counts: list[int] = []
    for read_end in pipes:
        with os.fdopen(read_end) as stream:
            counts.append(int(stream.read() or -1))
        os.wait()
    elapsed = time.time() - begin
    if min(counts) < 0:
        raise RuntimeError("a worker failed; its traceback is on standard error")
    return {"per_second": sum(counts) / elapsed, "count": sum(counts), "seconds": elapsed}


def _worker(work: Callable[[float], int], begin: float, deadline: float, write_end: int) -> None:
    code = 1
    try:
        time.sleep(max(0.0, begin - time.time()))
        os.write(write_end, str(work(deadline)).encode())
        code = 0
    except BaseException as error:  # process boundary: the parent sees an empty pipe
        print(f"worker: {error!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


JOBS: dict[str, Callable[..., dict[str, float]]] = {
    "log_metric": log_metric,
    "whole_run": whole_run,
    "history": history,
    "transfer_file": transfer_file,
    "transfer_folder": transfer_folder,
}


def main() -> None:
    """Serve jobs until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the client prints must not mix with the answers
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        name = request.pop("job")
        try:
            answer: dict[str, Any] = {"result": JOBS[name](**request)}
        except Exception as error:  # process boundary: reported to the caller
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
