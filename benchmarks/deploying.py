"""How soon a registered version has all of the traffic, and how soon the one before has it back.

    python -m benchmarks.deploying [--only NAME...] [--quick] [--json FILE]

The host is warm and no gate is asked: what is measured is verifying and copying the files, finding the environment,
loading, the first question, and the switch, as a client sees it who asks all the time.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bench import Bench, Benchmark
from benchmarks.load import call
from benchmarks.report import Row
from benchmarks.servers import Server, free_port, mlwright_server
from benchmarks.serving_servers import SKLEARN, Models, python_of, write_models
from benchmarks.suite import run

API = "/api/2.0/mlflow"
NAME = "boosting"
MAX_SMALL_S, MAX_LARGE_S, MAX_BACK_S = 0.15, 1.0, 0.01
VERSIONS = 9
_WAIT_S = 180.0
_FOREST = """
import pickle, sys
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
values, labels = make_classification(40_000, 30, n_informative=12, flip_y=0.4, random_state=7)
model = RandomForestClassifier(95, random_state=7, n_jobs=2).fit(values.round(4), labels)
pickle.dump(model, open(sys.argv[1], "wb"))
"""


class Watch:
    """A client that asks all the time, and notes when each version first answered, and last."""

    def __init__(self, port: int, body: bytes) -> None:
        self._port = port
        self._body = body
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.first: dict[int, float] = {}
        self.last: dict[int, float] = {}
        self.failures = 0

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Within the block."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._stop.is_set():
            connection.request("POST", "/invocations", self._body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            now = time.perf_counter()
            self.failures += answer.status != 200
            version = int(answer.headers.get("x-mlwright-version", 0))
            self.first.setdefault(version, now)
            self.last[version] = now
        connection.close()


class Platform:
    """A control plane with an endpoint."""

    def __init__(self, server: Server, port: int, models: Models) -> None:
        self._server = server
        self.port = port
        self._models = models
        self._call("POST", f"{API}/registered-models/create", {"name": NAME})

    def files(self, pickled: bytes) -> dict[str, bytes]:
        """A version as MLflow writes it."""
        signature = {key: json.dumps(value) for key, value in self._models.signature().items()}
        lines = [
            "flavors:",
            "  python_function: {loader_module: mlflow.sklearn, python_version: 3.11.0}",
            "  sklearn: {pickled_model: model.pkl, serialization_format: pickle}",
            "saved_input_example_info: {artifact_path: input_example.json}",
            f"signature: {json.dumps(signature)}",
        ]
        example = {"columns": self._models.columns, "data": self._models.rows[:1]}
        return {
            "MLmodel": "\n".join(lines).encode(),
            "model.pkl": pickled,
            "requirements.txt": _requirements(self._models.python).encode(),
            "input_example.json": json.dumps({"dataframe_split": example}).encode(),
        }

    def log(self, pickled: bytes) -> str:
        """Upload a model; the source to register."""
        made = self._call("POST", f"{API}/runs/create", {"experiment_id": "0", "start_time": 1})
        run_id = made["run"]["info"]["run_id"]
        for path, content in self.files(pickled).items():
            connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=60)
            with contextlib.closing(connection):
                target = f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/m/{path}"
                connection.request("PUT", target, content)
                connection.getresponse().read()
        return f"runs:/{run_id}/m"

    def register(self, source: str) -> int:
        """A version of what was logged."""
        body = {"name": NAME, "source": source, "run_id": source.split("/")[1]}
        return int(self._call("POST", f"{API}/model-versions/create", body)["model_version"]["version"])

    def deploy(self, version: int) -> None:
        """Have it take over at once."""
        spec = {"model": f"{NAME}/{version}", "rollout": {"strategy": "blue-green"}}
        manifest = {"apiVersion": "mlwright.dev/v1", "kind": "Endpoint", "metadata": {"name": NAME}, "spec": spec}
        self._call("POST", "/v1/resources", manifest)
        self._call("POST", f"/v1/endpoints/{NAME}/deploy", {})

    def back(self) -> None:
        """Serve what served before."""
        self._call("POST", f"/v1/endpoints/{NAME}/rollback", {})

    def serves(self, version: int) -> bool:
        """Whether it has all of the traffic."""
        found = self._call("GET", f"/v1/endpoints/{NAME}")
        return bool(found["summary"]["serves"] == f"{NAME}/{version}" and found["rollout"] is None)

    def _call(self, method: str, path: str, body: object = None) -> Any:
        return json.loads(call(self._server.port, method, path, body))


def _requirements(python: Path) -> str:
    code = "import sklearn, numpy; print(f'scikit-learn=={sklearn.__version__}\\nnumpy=={numpy.__version__}')"
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout


def take_over(bench: Bench) -> list[Row]:
    """From registering to the first moment at which nobody gets the version before; and back."""
    models = write_models(bench.root / "sklearn", python_of(SKLEARN), "sklearn")
    small = (models.folder / "0" / "model.pkl").read_bytes()
    forest = bench.root / "forest.pkl"
    subprocess.run([str(models.python), "-c", _FOREST, str(forest)], check=True)
    port = free_port()
    server = mlwright_server(bench.root / "deploying", ["--serving-port", str(port)])
    server.start()
    try:
        platform = Platform(server, port, models)
        platform.deploy(platform.register(platform.log(small)))
        _wait(lambda: _answers(port))
        times = [_taken_over(platform, models, small) for _ in range(max(3, round(VERSIONS * bench.scale)))]
        large = _taken_over(platform, models, forest.read_bytes())
        backs = [_went_back(platform, models, small) for _ in range(3)]
    finally:
        server.stop()
    size = forest.stat().st_size / 1e6
    return [
        _row("registered", "registered to 100 % of the traffic, host warm", median(times), MAX_SMALL_S),
        _row("registered_large", f"the same, a forest of {size:.0f} MB", large, MAX_LARGE_S),
        _row("back", "rollback asked for to the last answer of the version", median(backs), MAX_BACK_S),
    ]


def _taken_over(platform: Platform, models: Models, pickled: bytes) -> float:
    """Seconds from the request that registers a version to the last answer of the one before."""
    source = platform.log(pickled)
    watch = Watch(platform.port, _body(models))
    with watch.asking():
        _wait(lambda: bool(watch.first))
        began = time.perf_counter()
        version = platform.register(source)
        platform.deploy(version)
        _wait(lambda: version in watch.first and platform.serves(version))
    _check(watch)
    return max(at for each, at in watch.last.items() if each != version) - began


def _went_back(platform: Platform, models: Models, pickled: bytes) -> float:
    """Seconds from the answer to the rollback's request to the last answer of the version that served."""
    version = platform.register(platform.log(pickled))
    platform.deploy(version)
    _wait(lambda: platform.serves(version))
    watch = Watch(platform.port, _body(models))
    with watch.asking():
        _wait(lambda: version in watch.first)
        platform.back()
        answered = time.perf_counter()
        _wait(lambda: len(watch.first) > 1)
        time.sleep(0.05)
    _check(watch)
    return max(watch.last[version] - answered, 0.0)


def _body(models: Models) -> bytes:
    return json.dumps({"dataframe_split": {"columns": models.columns, "data": models.rows[:1]}}).encode()


def _answers(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
    except OSError:
        return False


def _wait(holds: Any) -> None:
    until = time.monotonic() + _WAIT_S
    while not holds():
        if time.monotonic() > until:
            raise RuntimeError("it takes too long")
        time.sleep(0.002)


def _check(watch: Watch) -> None:
    if watch.failures:
        raise RuntimeError(f"{watch.failures} requests failed")


def _row(name: str, label: str, seconds: float, most_s: float) -> Row:
    return Row(
        name=f"deploying_{name}",
        label=label,
        unit="ms",
        peer=None,
        ours=seconds * 1_000,
        must=f"≤ {most_s * 1_000:,.0f} ms",
        better="lower",
        max_value=most_s * 1_000,
    )


BENCHMARKS: dict[str, Benchmark] = {"take_over": take_over}


def main(arguments: Sequence[str] | None = None) -> int:
    return run("benchmarks.deploying", (__doc__ or "").splitlines()[0], BENCHMARKS, arguments)


if __name__ == "__main__":
    sys.exit(main())
