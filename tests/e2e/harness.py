"""An mlwright server as a process of its own, a plain HTTP client, and writers that remember what was acknowledged.

Nothing here knows how the server is built: it is started by its command, spoken to over HTTP, and killed by process id.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers import HOST, Server, end_all, mlwright_command, mlwright_server

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Answer:
    """What came back for one request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error_code(self) -> str:
        """MLflow's error code, or "" when the body is not an error of MLflow's shape."""
        try:
            document = self.json
        except ValueError:
            return ""
        return str(document.get("error_code", "")) if isinstance(document, dict) else ""


class Client:
    """One keep-alive connection. Raises OSError or HTTPException when the server goes away, then reconnects."""

    def __init__(self, port: int, timeout_s: float = TIMEOUT_S) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)

    def request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
        """Send one request; bytes go as they are, anything else as JSON. The path is sent unchanged."""
        send = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            send.setdefault("Content-Type", "application/json")
        try:
            self._connection.putrequest(method, path, skip_accept_encoding=True)
            if isinstance(body, bytes):
                send["Content-Length"] = str(len(body))
            for name, value in send.items():
                self._connection.putheader(name, value)
            self._connection.endheaders(body)
            response = self._connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        except BaseException:
            self._connection.close()
            raise

    def post(self, path: str, body: object) -> Answer:
        return self.request("POST", path, body)

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def ok(self, method: str, path: str, body: object = None) -> Any:
        """The JSON answer of a request that must succeed."""
        answer = self.request(method, path, body)
        assert answer.status == 200, f"{method} {path}: {answer.status} {answer.body[:500]!r}"
        return answer.json

    def new_run(self, experiment_id: str = "0") -> str:
        run = self.ok("POST", f"{API}/runs/create", {"experiment_id": experiment_id, "start_time": 1})
        return str(run["run"]["info"]["run_id"])

    def new_experiment(self, name: str) -> str:
        return str(self.ok("POST", f"{API}/experiments/create", {"name": name})["experiment_id"])

    def close(self) -> None:
        self._connection.close()


def new_server(root: Path, *options: str) -> Server:
    """A server whose data directory is `root/mlwright`; not started. Every start may use the same port again."""
    return mlwright_server(root, options)


@contextlib.contextmanager
def running(server: Server) -> Iterator[Client]:
    """Start the server for the length of the block; yields a client."""
    server.start()
    client = Client(server.port)
    try:
        yield client
    finally:
        client.close()
        server.stop()


def logged(server: Server) -> str:
    """All that the server has printed and logged."""
    logs = sorted((server.data / "logs").glob("*.log")) if (server.data / "logs").is_dir() else []
    return server.tail(1_000_000) + "".join(path.read_text(errors="replace") for path in logs)


def first_traceback(server: Server) -> str:
    """The first traceback that the server has logged, with the line before it; "" when there is none."""
    before, found, after = logged(server).partition("Traceback")
    return f"{before.splitlines()[-1]}\n{found}{after[:3000]}" if found else ""


def kill(server: Server) -> None:
    """`kill -9` the whole process tree at once, as a power switch would."""
    members = server.pids()
    for pid in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if server.process is not None:
        server.process.wait()
        server.process = None
    end_all(members, signal.SIGKILL)


def run_cli(*arguments: str | Path, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end; output and errors as text."""
    return subprocess.run(
        [*mlwright_command(), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def components_required() -> bool:
    """Whether this is a run with everything installed and nothing skipped (`.ci/run`)."""
    return os.environ.get("MLWRIGHT_REQUIRE_COMPONENTS") == "1"


@contextlib.contextmanager
def mounted(folder: Path, kind: str, *options: str) -> Iterator[Path]:
    """A small file system of its own at `folder`. Skips, with the reason, where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    command = ["mount", "-t", kind, "-o", ",".join(options), kind, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this sandbox does not let root mount a file system: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@dataclass
class Ledger:
    """What one writer knows: facts the server acknowledged, and what was in flight when it went away."""

    runs: set[str] = field(default_factory=set)
    points: dict[tuple[str, str], set[int]] = field(default_factory=dict)  # (run, key) -> steps
    params: dict[str, dict[str, str]] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    batches: dict[str, set[int]] = field(default_factory=dict)  # run -> numbers
    refused: list[Answer] = field(default_factory=list)
    acknowledged: int = 0


BATCH_KEYS = ("a", "b", "c", "d")


class Writer(threading.Thread):
    """Logs metrics, parameters, tags, batches and runs one after the other until told to stop.

    A lost connection or a refusal that invites a retry (503, 507) is no failure: the write counts as unknown and
    the writer goes on with the next. Any other answer than 200 is recorded in `ledger.refused`.
    """

    def __init__(self, number: int, port: int, stop: threading.Event, seed: int) -> None:
        super().__init__(daemon=True, name=f"writer-{number}")
        self.ledger = Ledger()
        self._client = Client(port, timeout_s=60)
        self._stop_event = stop
        self._dice = random.Random(seed * 1000 + number)
        self._number = number
        self._count = 0
        self._run = ""
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._stop_event.is_set():
                self._count += 1
                try:
                    self._one()
                except (OSError, http.client.HTTPException):
                    self._run = ""  # go on in a run of its own: this one is checked as the kill left it
                    self._stop_event.wait(0.01)
        except BaseException as error:  # thread boundary: reported by the test
            self.failure = error
        finally:
            self._client.close()

    def _one(self) -> None:
        if not self._run or self._dice.random() < 0.01:
            self._create_run()
        else:
            verbs = (self._metric, self._metric, self._metric, self._param, self._tag, self._batch, self._create_run)
            self._dice.choice(verbs)()

    def _send(self, verb: str, body: dict[str, object]) -> Answer | None:
        """The answer when the write was acknowledged, else None."""
        answer = self._client.post(f"{API}/runs/{verb}", body)
        if answer.status == 200:
            self.ledger.acknowledged += 1
            return answer
        if answer.status not in (503, 507):
            self.ledger.refused.append(answer)
        self._stop_event.wait(0.02)
        return None

    def _create_run(self) -> None:
        name = f"w{self._number}-{self._count}"
        answer = self._send("create", {"experiment_id": "0", "run_name": name, "start_time": self._count})
        if answer is not None:
            self._run = answer.json["run"]["info"]["run_id"]
            self.ledger.runs.add(self._run)
            self.ledger.tags.setdefault(self._run, {})["mlflow.runName"] = name

    def _metric(self) -> None:
        key, step = self._dice.choice(("x", "y")), self._count
        body = {"run_id": self._run, "key": key, "value": step / 7, "timestamp": 1000 + step, "step": step}
        if self._send("log-metric", body):
            self.ledger.points.setdefault((self._run, key), set()).add(step)

    def _param(self) -> None:
        key, value = f"p{self._count}", f"value {self._count}"
        if self._send("log-parameter", {"run_id": self._run, "key": key, "value": value}):
            self.ledger.params.setdefault(self._run, {})[key] = value

    def _tag(self) -> None:
        key, value = f"t{self._count}", f"value {self._count}"
        if self._send("set-tag", {"run_id": self._run, "key": key, "value": value}):
            self.ledger.tags.setdefault(self._run, {})[key] = value

    def _batch(self) -> None:
        """A batch is whole or absent: four metrics at one step, a parameter and a tag of the same number."""
        step = self._count
        metrics = [{"key": key, "value": step, "timestamp": step, "step": step} for key in BATCH_KEYS]
        body: dict[str, object] = {"run_id": self._run, "metrics": metrics}
        body["params"] = [{"key": f"batch-{step}", "value": str(step)}]
        body["tags"] = [{"key": f"batch-{step}", "value": str(step)}]
        if self._send("log-batch", body):
            self.ledger.batches.setdefault(self._run, set()).add(step)


@contextlib.contextmanager
def writing(port: int, writers: int, seed: int) -> Iterator[list[Writer]]:
    """Run writers for the length of the block; afterwards they have ended and none of them failed."""
    stop = threading.Event()
    threads = [Writer(number, port, stop, seed) for number in range(writers)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
    failures = [thread.failure for thread in threads if thread.failure is not None]
    assert not failures, failures
    assert not any(thread.is_alive() for thread in threads), "a writer hangs"


def history(client: Client, run_id: str, key: str) -> dict[int, float]:
    """All points of a metric: step to value."""
    answer = client.ok("GET", f"{API}/metrics/get-history?run_id={run_id}&metric_key={key}")
    return {int(point.get("step", 0)): float(point["value"]) for point in answer.get("metrics", [])}


def check_ledgers(client: Client, ledgers: Sequence[Ledger]) -> int:
    """Every acknowledged write is there with its value and no batch is half there; returns the number of facts."""
    facts = 0
    for ledger in ledgers:
        for run_id in ledger.runs:
            data = client.ok("GET", f"{API}/runs/get?run_id={run_id}")["run"].get("data", {})
            params = {item["key"]: item["value"] for item in data.get("params", [])}
            tags = {item["key"]: item["value"] for item in data.get("tags", [])}
            latest = {item["key"]: item for item in data.get("metrics", [])}
            for wanted, found in ((ledger.params, params), (ledger.tags, tags)):
                missing = wanted.get(run_id, {}).items() - found.items()
                assert not missing, f"run {run_id} has lost {missing}"
                facts += len(wanted.get(run_id, {}))
            for key in ("x", "y"):
                facts += _check_points(client, run_id, key, ledger.points.get((run_id, key), set()), latest)
            facts += _check_batches(client, run_id, ledger.batches.get(run_id, set()), params, tags)
    return facts


def _check_points(client: Client, run_id: str, key: str, steps: set[int], latest: dict[str, Any]) -> int:
    found = history(client, run_id, key)
    assert steps <= found.keys(), f"run {run_id} has lost steps {sorted(steps - found.keys())} of {key}"
    assert all(value == step / 7 for step, value in found.items()), f"{run_id} {key}: a wrong value"
    if found:
        assert int(latest[key]["step"]) == max(found), f"{run_id} {key}: the latest value is not the last step"
    else:
        assert key not in latest, f"{run_id} {key}: a latest value without a history"
    return len(steps)


def _check_batches(
    client: Client, run_id: str, acknowledged: set[int], params: dict[str, str], tags: dict[str, str]
) -> int:
    numbers = [{int(key.removeprefix("batch-")) for key in part if key.startswith("batch-")} for part in (params, tags)]
    series = [set(history(client, run_id, key)) for key in BATCH_KEYS]
    for other in (*numbers, *series):
        assert other == numbers[0], f"run {run_id} has half a batch: {other ^ numbers[0]}"
    assert acknowledged <= numbers[0], f"run {run_id} has lost batches {acknowledged - numbers[0]}"
    return len(acknowledged)


def verify_audit(server: Server) -> None:
    """The event chain of the server's data directory is intact, by the project's own command."""
    done = run_cli("audit", "verify", "--data", server.data)
    assert done.returncode == 0, f"audit verify: {done.returncode}\n{done.stdout}\n{done.stderr}"
