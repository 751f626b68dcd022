"""Container images of versions: the command from its start to its end, in seconds, and what comes of it.

The peer's own command needs a daemon, minutes for each version, and a package index: it is not run.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.bench import Bench, Benchmark
from benchmarks.report import Row
from benchmarks.servers import HOST, free_port, mlwright_command
from mlwright.kernel.client import Client, HttpTransport
from mlwright.kernel.errors import MlwrightError

API, ARTIFACTS = "/api/2.0/mlflow", "/api/2.0/mlflow-artifacts/artifacts"
MAX_NEW_S, MAX_ONNX_MB = 0.6, 200.0
#: How each model is described, and what it needs; its own bytes do not matter here, and change with each version.
MODELS = {
    "onnx": ("flavors: {onnx: {data: model.bin}, python_function: {python_version: 3.11.2}}", "onnxruntime\nnumpy\n"),
    "sklearn": ("flavors: {sklearn: {pickled_model: model.bin}}", "scikit-learn\nnumpy\n"),
}
MODEL_BYTES = 140_000


class Built(NamedTuple):
    """What a command took and told."""

    seconds: float
    told: dict[str, Any]


def images(bench: Bench) -> list[Row]:
    """The first image of each kind of model, and one for each new version of it, on a server of their own."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="mlwright-bench-") as made, served(Path(made)) as client:
        for kind in MODELS:
            first, *later = [build(Path(made), client, kind) for _ in range(bench.rounds + 1)]
            new = statistics.median(each.seconds for each in later)
            rows += [
                _row(f"image-first-{kind}", f"{kind} model: its first image, of nothing", first.seconds, None),
                _row(f"image-new-{kind}", f"{kind} model: the image of a new version", new, MAX_NEW_S),
                _size(kind, later[-1].told["size"] / 1e6),
            ]
    return rows


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Client]:
    """A client of a new server."""
    port = free_port()
    up = [*mlwright_command(), "up", "--detach", "--data", str(folder / "data"), "--port", str(port)]
    subprocess.run(up, check=True, stdout=subprocess.DEVNULL)
    try:
        yield Client(HttpTransport(f"http://{HOST}:{port}"))
    finally:
        subprocess.run([*mlwright_command(), "down", "--data", str(folder / "data")], check=True)


def build(folder: Path, client: Client, kind: str) -> Built:
    """Register one more version, and build its image."""
    run_id = client.post(f"{API}/runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"]
    described, needed = MODELS[kind]
    named = f"{described}\nmodel_uuid: {run_id}\n"
    files = {"MLmodel": named.encode(), "requirements.txt": needed.encode(), "model.bin": os.urandom(MODEL_BYTES)}
    for name, data in files.items():
        client.upload(f"{ARTIFACTS}/0/{run_id}/artifacts/model/{name}", [data], len(data))
    with contextlib.suppress(MlwrightError):  # it is there already
        client.post(f"{API}/registered-models/create", {"name": kind})
    source = {"name": kind, "source": f"mlflow-artifacts:/0/{run_id}/artifacts/model", "run_id": run_id}
    version = client.post(f"{API}/model-versions/create", source)["model_version"]["version"]
    target = ["-o", f"oci:{folder / kind}-{version}", "--format", "json"]
    command = [*mlwright_command(), "image", "build", f"{kind}/{version}", *target, "--data", str(folder / "data")]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return Built(time.perf_counter() - started, json.loads(done.stdout))


def _row(name: str, label: str, seconds: float, most: float | None) -> Row:
    must = f"≤ {most} s" if most else "–"
    return Row(name=name, label=label, unit="s", peer=None, ours=seconds, must=must, better="lower", max_value=most)


def _size(kind: str, megabytes: float) -> Row:
    most = MAX_ONNX_MB if kind == "onnx" else None
    must = f"≤ {most:g} MB" if most else "–"
    label = f"{kind} model: size of its image, not compressed"
    return Row(
        name=f"image-size-{kind}", label=label, unit="MB", peer=None, ours=megabytes, must=must, better="lower",
        max_value=most,
    )  # fmt: skip


BENCHMARKS: dict[str, Benchmark] = {"images": images}
