"""A long test of serving: `python -m benchmarks.soak [--seconds 600] [--rate 400]`.

Requests are sent at a constant rate, whatever the answers, while versions are switched, rolled out and back, hosts are
replaced and killed, and the control plane is killed and stays away. No request may fail, except those that were in a
host that was killed; those are counted, and there cannot be more than it had connections.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.load import call
from benchmarks.servers import Server, free_port, mlwright_server
from mlwright.registry.gates import load

NAME = "soak"
API = "/api/2.0/mlflow"
_WAIT_S = 60.0
_LOOK_S = 0.02
_WARMUP_S = 1.0
#: How often each happens, as in 100 switches, 20 rollouts of either kind, 20 ways back and 10 replaced hosts.
_ROUND = (
    *("switch",) * 5, "canary", "back", *("switch",) * 3, "upgrade", "bad canary", *("switch",) * 2, "back",
)  # fmt: skip
_LINES = {
    "MLmodel": """flavors:
  sklearn: {pickled_model: model.pkl, code: code, sklearn_version: 1.8.0}
  python_function: {loader_module: mlflow.sklearn, python_version: 3.11.0}
signature:
  inputs: '[{"type": "double", "name": "x"}, {"type": "double", "name": "y"}]'
  outputs: '[{"type": "double"}]'
""",
    "requirements.txt": f"numpy=={np.__version__}\n",
}
_CODE = """
import numpy

class Toy:
    def __init__(self, bad):
        self.bad = bad

    def predict(self, given):
        if self.bad:
            raise ValueError("this version answers nobody")
        return numpy.asarray(given, dtype=float).sum(axis=1)
"""


class SoakError(AssertionError):
    """A request failed that should not have, or something did not happen in time."""


class _OverError(Exception):
    """The load has ended: without requests no rollout does."""


@dataclass
class Report:
    """What was done, and what became of the requests.

    `allowed`: requests that may have been in hosts that were killed.
    """

    sent: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    allowed: int = 0
    done: Counter[str] = field(default_factory=Counter)
    p50_ms: float = 0.0
    p99_ms: float = 0.0

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    def check(self) -> None:
        """Raise SoakError unless no request failed but those in killed hosts."""
        others = {kind: count for kind, count in self.failures.items() if kind.startswith("HTTP") or kind == "timeout"}
        if others or self.failed > self.allowed:
            raise SoakError(f"{self.failed} of {self.sent} requests failed: {self.failures}; {self.allowed} might have")


class Soak:
    """Args:
    server: a control plane, not started; its serving host gets `port`.
    rate: requests per second.
    seconds: for how long.
    away_s: for how long the control plane stays away.
    """

    def __init__(self, server: Server, port: int, rate: float, seconds: float, away_s: float) -> None:
        self._server = server
        self._port = port
        self._rate = rate
        self._seconds = seconds
        self._away_s = away_s
        self._report = Report()
        self._good = itertools.cycle((1, 2))
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> Report:
        """Do everything, round after round, until the load ends."""
        self._server.start()
        try:
            self._prepare()
            with self._load() as process:
                actions = itertools.cycle([*_ROUND, "control plane away", *_ROUND, "host killed"])
                self._process = process
                with contextlib.suppress(_OverError):
                    while process.poll() is None:
                        self._do(next(actions))
        finally:
            self._server.stop()
        return self._report

    # --- before ------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Register two good versions and a bad one, and serve the first."""
        self._call("POST", f"{API}/registered-models/create", {"name": NAME})
        for bad in (False, False, True):
            self._register(bad=bad)
        self._ask_for(next(self._good), "blue-green")
        self._wait("the first version answers", lambda: self._endpoint()["summary"]["phase"] == "Serving")

    def _register(self, *, bad: bool) -> None:
        run = self._call("POST", f"{API}/runs/create", {"experiment_id": "0", "start_time": 1})["run"]["info"]["run_id"]
        module = f"toy_{run[:8]}"
        files = {**{name: text.encode() for name, text in _LINES.items()}, f"code/{module}.py": _CODE.encode()}
        files["model.pkl"] = _pickled(module, bad=bad)
        for path, content in files.items():
            self._put(f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/m/{path}", content)
        source = {"name": NAME, "source": f"runs:/{run}/m", "run_id": run}
        self._call("POST", f"{API}/model-versions/create", source)

    @contextlib.contextmanager
    def _load(self) -> Iterator[subprocess.Popen[bytes]]:
        """Requests from another process, and its report afterwards."""
        with tempfile.TemporaryDirectory() as name:
            body, plan = Path(name, "body.json"), Path(name, "plan.json")
            body.write_text(json.dumps({"inputs": [[1.0, 2.0]]}))
            times = {"seconds": self._seconds, "warmup_seconds": _WARMUP_S, "timeout_seconds": 30}
            plan.write_text(json.dumps({"port": self._port, "body": str(body), "rate": self._rate, **times}))
            command = [sys.executable, "-I", str(Path(load.__file__)), str(plan)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                try:
                    yield process
                finally:
                    self._read(process)

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        found = json.loads(process.stdout.read())
        buckets = {int(number): count for number, count in found["buckets"].items()}
        self._report.sent, self._report.failures = found["sent"], found["failures"]
        self._report.p50_ms, self._report.p99_ms = (_quantile_ms(buckets, share) for share in (0.5, 0.99))

    # --- meanwhile ---------------------------------------------------------------------------------------------

    def _do(self, action: str) -> None:
        steps: dict[str, Callable[[], None]] = {
            "switch": lambda: self._take_over("blue-green"),
            "canary": lambda: self._take_over("canary"),
            "bad canary": self._refuse,
            "back": self._go_back,
            "upgrade": self._upgrade,
            "host killed": self._kill_host,
            "control plane away": self._stay_away,
        }
        steps[action]()
        self._report.done[action] += 1

    def _take_over(self, strategy: str) -> None:
        version = next(self._good)
        self._ask_for(version, strategy)
        self._wait(f"version {version} takes over", lambda: self._serves(version))

    def _refuse(self) -> None:
        before = self._endpoint()["summary"]["serves"]
        self._ask_for(3, "canary")
        self._wait("the bad version is rolled back", lambda: self._newest_rollout() == (3, "rolled-back"))
        if self._endpoint()["summary"]["serves"] != before:
            raise SoakError("a version that answers nobody took over")

    def _go_back(self) -> None:
        before = self._endpoint()["traffic"]["stable"]
        self._call("POST", f"/v1/endpoints/{NAME}/rollback", {})
        self._wait("an earlier revision serves", lambda: self._endpoint()["traffic"]["stable"] != before)

    def _upgrade(self) -> None:
        before = self._host_pid()
        os.kill(self._keeper()["pid"], signal.SIGHUP)
        self._wait("a new host serves", lambda: self._host_pid() not in {None, before})
        self._wait("the old host ends", lambda: not Path(f"/proc/{before}").exists())

    def _kill_host(self) -> None:
        before = self._host_pid()
        if before is None:
            raise SoakError("there is no host")
        self._report.allowed += _connections(self._port)
        os.kill(before, signal.SIGKILL)
        self._wait("another host answers", lambda: self._host_pid() not in {None, before})
        self._wait("the version serves again", lambda: self._endpoint()["summary"]["phase"] == "Serving")

    def _stay_away(self) -> None:
        assert self._server.process is not None
        self._server.process.kill()
        self._server.process.wait()
        time.sleep(self._away_s)
        self._server.start()

    # --- asking ------------------------------------------------------------------------------------------------

    def _ask_for(self, version: int, strategy: str) -> None:
        rollout = {"strategy": strategy, "steps": [20, 50], "lookSeconds": 0.2}
        spec = {"model": f"{NAME}/{version}", "rollout": rollout}
        manifest = {"apiVersion": "mlwright.dev/v1", "kind": "Endpoint", "metadata": {"name": NAME}, "spec": spec}
        self._call("POST", "/v1/resources", manifest)
        self._call("POST", f"/v1/endpoints/{NAME}/deploy", {})

    def _endpoint(self) -> Any:
        return self._call("GET", f"/v1/endpoints/{NAME}")

    def _serves(self, version: int) -> bool:
        found = self._endpoint()
        return bool(found["summary"]["serves"] == f"{NAME}/{version}" and found["rollout"] is None)

    def _newest_rollout(self) -> tuple[int, str]:
        newest = self._call("GET", f"/v1/endpoints/{NAME}/rollouts")[0]
        revisions = {each["number"]: each["version"] for each in self._endpoint()["revisions"]}
        return revisions[newest["number"]], newest["state"]

    def _keeper(self) -> dict[str, int]:
        found: dict[str, int] = json.loads((self._server.data / "serving" / "keeper.json").read_bytes())
        return found

    def _host_pid(self) -> int | None:
        """The newest host that its keeper has started."""
        keeper = self._keeper()["pid"]
        found = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
        return int(found[-1]) if found else None

    def _wait(self, what: str, holds: Callable[[], bool]) -> None:
        until = time.monotonic() + _WAIT_S
        while not holds():
            if self._process is not None and self._process.poll() is not None:
                raise _OverError
            if time.monotonic() > until:
                raise SoakError(f"waited {_WAIT_S:.0f} s until {what}: {self._endpoint()}")
            time.sleep(_LOOK_S)

    def _call(self, method: str, path: str, body: object = None) -> Any:
        return json.loads(call(self._server.port, method, path, body))

    def _put(self, path: str, content: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("PUT", path, content)
            if connection.getresponse().status != 200:
                raise SoakError(f"{path} was not taken")


def _pickled(module: str, *, bad: bool) -> bytes:
    """A pickle of the model, whose class is in the version's own code."""
    kind = type("Toy", (), {"__module__": module, "__init__": lambda self: None})
    found = kind()
    found.bad = bad
    fake = type(sys)(module)
    fake.Toy = kind  # type: ignore[attr-defined]
    sys.modules[module] = fake
    try:
        return pickle.dumps(found)
    finally:
        del sys.modules[module]


def _connections(port: int) -> int:
    """How many connections of clients there are to a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(1 for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01")


def _quantile_ms(buckets: dict[int, int], share: float) -> float:
    total, reached = sum(buckets.values()), 0
    for number, count in sorted(buckets.items()):
        reached += count
        if reached >= share * total:
            return load.upper_s(number) * 1_000
    return float("nan")


def soak(root: Path, rate: float, seconds: float, away_s: float) -> Report:
    """Run it on a fresh data directory below `root`."""
    port = free_port()
    server = mlwright_server(root, ["--serving-port", str(port)])
    return Soak(server, port, rate, seconds, away_s).run()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--seconds", type=float, default=600.0, help="for how long (default: 600)")
    parser.add_argument("--rate", type=float, default=400.0, help="requests per second (default: 400)")
    parser.add_argument("--away", type=float, default=60.0, help="seconds without a control plane, each time")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="mlwright-soak-"))
    try:
        report = soak(root, options.rate, options.seconds, options.away)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(msgspec.json.format(msgspec.json.encode(report), indent=1).decode())
    report.check()


if __name__ == "__main__":
    main()
