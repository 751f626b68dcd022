"""What every benchmark gets: two servers, the rounds that alternate between them, and the peer's client."""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.clients import ClientJobs
from benchmarks.load import UnexpectedAnswerError, drive, post
from benchmarks.report import Row
from benchmarks.servers import Server, mlflow_server, mlwright_server, null_server

PEER, OURS = "mlflow", "mlwright"
ATTEMPTS = 5
WARM_UP_S = 0.5


@dataclass(frozen=True)
class Figures:
    """Medians of one measurement for both servers; None for a server that was not measured."""

    peer: float | None
    ours: float | None


@dataclass
class Bench:
    """Settings of a run, and the servers and client processes it has started so far.

    `sides` names the servers to measure (both, or one when only that is of interest).
    """

    peer_python: Path
    rounds: int
    seconds: float
    sides: tuple[str, ...] = (PEER, OURS)
    scale: float = 1.0
    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="mlwright-bench-")))
    _servers: dict[str, Server] = field(default_factory=dict)
    _group: str = ""
    _stack: ExitStack = field(default_factory=ExitStack)
    _clients: ClientJobs | None = None

    def servers(self, group: str, prepare: Callable[[Server], None] | None = None) -> dict[str, Server]:
        """The running servers of a group by side. A new group ends the servers of the one before.

        `prepare` fills each server once, when the group is started.
        """
        if group != self._group:
            self.end_servers()
            self._group = group
            try:
                for side in self.sides:
                    self._start(side, prepare)
            except BaseException:
                self.end_servers()  # the next row of the group begins anew
                raise
        return self._servers

    def _start(self, side: str, prepare: Callable[[Server], None] | None) -> None:
        for attempt in range(ATTEMPTS):
            server = self.new_server(side, self.root / self._group / str(attempt))
            self._servers[side] = server
            server.start()
            server.settle()
            try:
                warm(server)
                if prepare is not None:
                    prepare(server)
            except UnexpectedAnswerError:  # of the peer's workers, one now and then fails to make the tables
                server.stop()
            else:
                return
        raise RuntimeError(f"{side} did not start in {ATTEMPTS} attempts")

    def new_server(self, side: str, root: Path) -> Server:
        """A server of that side with its data under `root`; not started."""
        return mlflow_server(root, self.peer_python) if side == PEER else mlwright_server(root)

    def alternate(self, group: str, measure: Callable[[Server], float], rounds: int | None = None) -> Figures:
        """Measure each server in turn, `rounds` times, and take medians."""
        values: dict[str, list[float]] = {side: [] for side in self.sides}
        servers = self.servers(group)
        for _ in range(rounds or self.rounds):
            for side in self.sides:
                with self.alone(servers[side]):
                    values[side].append(measure(servers[side]))
        return figures(values)

    @contextmanager
    def alone(self, server: Server) -> Iterator[None]:
        """Meanwhile all other servers that were started stand still, so that `server` has the machine for itself.

        A server without work is not idle: MLflow's job runners take a good part of a core.
        """
        others = [each for each in self._servers.values() if each is not server]
        try:
            for each in others:
                each.pause()
            yield
        finally:
            for each in others:
                each.resume()

    def clients(self) -> ClientJobs:
        """The process that does jobs with the real client, started at first use."""
        if self._clients is None:
            self._clients = self._stack.enter_context(ClientJobs(self.peer_python))
        return self._clients

    def client_limits(self, job: str, **arguments: object) -> dict[str, float]:
        """The figures of that job beside a server that does nothing: medians of the rounds."""
        server = null_server(self.root)
        server.start()
        try:
            with self.alone(server):
                found = [self.clients().run(job, server.url, **arguments) for _ in range(self.rounds)]
                return {figure: statistics.median(each[figure] for each in found) for figure in found[0]}
        finally:
            server.stop()

    def end_servers(self) -> None:
        for server in self._servers.values():
            server.stop()
        self._servers.clear()
        if self._group:
            shutil.rmtree(self.root / self._group, ignore_errors=True)
        self._group = ""
        self._group = ""

    def close(self) -> None:
        """Stop everything that was started and remove its data."""
        self.end_servers()
        self._stack.close()
        shutil.rmtree(self.root, ignore_errors=True)


def warm(server: Server) -> None:
    """Let every worker of the server answer some requests: the first of each pays for late imports."""
    body = json.dumps({"experiment_ids": ["0"], "max_results": 1}).encode()
    for _ in range(3):
        streams = [itertools.repeat(post("/api/2.0/mlflow/runs/search", body)) for _ in range(16)]
        drive(server.port, streams, WARM_UP_S)


def figures(values: dict[str, list[float]]) -> Figures:
    medians = {side: statistics.median(series) for side, series in values.items() if series}
    return Figures(medians.get(PEER), medians.get(OURS))


Benchmark = Callable[[Bench], list[Row]]
