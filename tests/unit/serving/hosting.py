"""A real serving host with real workers, whose models are a few lines of Python."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from mlwright.serving import programs

_PROGRAMS = Path(programs.__file__ or "").parent
_WAIT_S = 30.0
SIGNATURE = {"inputs": [{"type": "double", "name": "x"}, {"type": "double", "name": "y"}]}
#: What the toy model does is told by the first value of a row.
TOY = '''
import os, time
import numpy

class Toy:
    """Answers x + y + its own number; some values of x are orders."""

    def __init__(self, number):
        self.number = number

    def predict(self, given):
        given = numpy.asarray(given, dtype=float)
        orders = given[:, 0]
        if (orders == 666).any():
            raise ValueError("a bad row")
        if (orders == 137).any():
            os._exit(137)
        if (orders == 60).any():
            time.sleep(60)
        if (orders == 1).any():
            time.sleep(0.2)
        if (orders == 7).any():
            return numpy.zeros(99)
        found = given.sum(axis=1) + self.number
        found[orders == 404] = float("nan")
        return found
'''


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def document(self) -> Any:
        return json.loads(self.body)


def toy(folder: Path, number: int, version: int, source: str = TOY) -> dict[str, Any]:
    """A revision of a toy model, its files written."""
    model, module = folder / f"model-{version}", f"toy_{version}"
    (model / "code").mkdir(parents=True, exist_ok=True)
    (model / "code" / f"{module}.py").write_text(source)
    pickled = f"import sys, pickle; sys.path.insert(0, 'code'); import {module}; m = {module}.Toy({number})"
    script = f"{pickled}; pickle.dump(m, open('m.pkl', 'wb'))"
    subprocess.run([sys.executable, "-c", script], cwd=model, check=True)
    return {
        "number": version, "model": "toy", "version": version, "folder": str(model), "python": sys.executable,
        "loader": "sklearn", "options": {"pickled_model": "m.pkl", "code": "code"}, "signature": SIGNATURE,
    }  # fmt: skip


class Site:
    """A keeper and its host.

    Args:
        folder: where it keeps its state.
        configure: called before it starts; sets `others`, endpoints beside the first, and `limits`, of the host.
        grpc: whether it is asked over gRPC too.
    """

    def __init__(
        self,
        folder: Path,
        *revisions: dict[str, Any],
        configure: "Callable[[Site], None] | None" = None,
        grpc: bool = False,
        **endpoint: Any,
    ) -> None:
        self.folder = folder
        self.served = {"name": "toy", "project": "default", "stable": 1, "revisions": list(revisions), **endpoint}
        self.generation = 0
        self.others: list[dict[str, Any]] = []
        self.limits: dict[str, Any] = {}
        if configure is not None:
            configure(self)
        self.write()
        host = [sys.executable, "-m", "mlwright.serving.host.main", str(folder)]
        ports = ["0", "0"] if grpc else ["0"]
        command = [
            sys.executable,
            "-I",
            str(_PROGRAMS / "host_keeper.py"),
            str(folder),
            "127.0.0.1",
            *ports,
            "--",
            *host,
        ]
        self.log = (folder / "log").open("wb")
        self.keeper = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self.wait((folder / "control.sock").exists)
        told = json.loads((folder / "keeper.json").read_text())
        self.port: int = told["port"]
        self.grpc: int = told.get("grpc_port", 0)

    def wait(self, wanted: Callable[[], object]) -> None:
        until = time.monotonic() + _WAIT_S
        while not wanted():
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.02)

    def write(self) -> bytes:
        self.generation += 1
        endpoints = [self.served, *self.others]
        text = json.dumps({"generation": self.generation, "endpoints": endpoints, **self.limits}).encode()
        (self.folder / "state.json").write_bytes(text)
        return text

    def tell(self, **changes: Any) -> Any:
        """Serve this from now on."""
        self.served |= changes
        connection = http.client.HTTPConnection("host")
        connection.sock = self._control()
        connection.request("PUT", "/state", self.write())
        with contextlib.closing(connection):
            return json.loads(connection.getresponse().read())

    def counts(self) -> Any:
        return self.document()["endpoints"][0]

    def document(self) -> Any:
        connection = http.client.HTTPConnection("host")
        connection.sock = self._control()
        connection.request("GET", "/counts")
        with contextlib.closing(connection):
            return json.loads(connection.getresponse().read())

    def _control(self) -> socket.socket:
        found = socket.socket(socket.AF_UNIX)
        found.connect(str(self.folder / "control.sock"))
        return found

    def ask(self, *rows: list[float], path: str = "/v2/models/toy/infer", **headers: str) -> Answer:
        data = [value for row in rows for value in row]
        tensor = {"name": "in", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": data}
        return self.post(path, json.dumps({"inputs": [tensor]}).encode(), **headers)

    def post(self, path: str, body: bytes = b"", **headers: str) -> Answer:
        return self.request("POST", path, body, headers)

    def request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=_WAIT_S)) as connection:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()})

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, None, headers)

    def values(self, *rows: list[float], **more: Any) -> list[float]:
        answer = self.ask(*rows, **more)
        assert answer.status == 200, answer.body
        found: list[float] = answer.document["outputs"][0]["data"]
        return found

    @property
    def host(self) -> psutil.Process:
        (found,) = psutil.Process(self.keeper.pid).children()
        return found

    def close(self) -> None:
        self.keeper.send_signal(signal.SIGTERM)
        left = psutil.Process(self.keeper.pid).children(recursive=True)
        self.keeper.wait(_WAIT_S)
        self.log.close()
        _, alive = psutil.wait_procs(left, 5)
        assert alive == []


@contextlib.contextmanager
def site(folder: Path, *revisions: dict[str, Any], **endpoint: Any) -> Iterator[Site]:
    found = Site(folder, *revisions, **endpoint)
    try:
        yield found
    finally:
        found.close()


class Load:
    """Clients that ask all the time, each on a connection that it keeps, and count every answer."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.stopped = False
        self.seen: Counter[str] = Counter()

    def run(self) -> None:
        """One client, until stopped."""
        body = json.dumps({"inputs": [{"name": "in", "shape": [1, 2], "datatype": "FP64", "data": [2, 3]}]})
        connection: http.client.HTTPConnection | None = None
        while not self.stopped:
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self._site.port, timeout=_WAIT_S)
                connection.request("POST", "/v2/models/toy/infer", body)
                answer = connection.getresponse()
                answer.read()
                self.seen[str(answer.status)] += 1
                if answer.getheader("connection") == "close":
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self.seen[type(error).__name__] += 1
                connection = None
        if connection is not None:
            connection.close()


def kill(process: psutil.Process | int) -> None:
    os.kill(process if isinstance(process, int) else process.pid, signal.SIGKILL)
