"""The benchmark's own logic without real servers: request bodies, seeds, alternation, options."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import registry, suite, tracking
from benchmarks.bench import Bench, figures
from benchmarks.footprint import weigh
from benchmarks.report import Row
from benchmarks.seed import seed_runs, share
from benchmarks.servers import Server, mlwright_command
from benchmarks.writes import batch_requests, metric_requests, run_requests
from mlwright import __version__


def body(request: bytes) -> dict[str, object]:
    head, _, content = request.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(content)}".encode() in head
    answer: dict[str, object] = json.loads(content)
    return answer


def test_single_metrics_go_on_step_by_step() -> None:
    first, second = (body(request) for request in itertools.islice(metric_requests("r1"), 2))
    assert first["run_id"] == "r1"
    assert (first["step"], second["step"]) == (1_000_000, 1_000_001)
    assert first["timestamp"] == 1_700_001_000_000


@pytest.mark.parametrize(("keys", "steps"), [(10, 100), (1000, 1)])
def test_batches_hold_new_points_every_time(keys: int, steps: int) -> None:
    seen: set[tuple[str, int]] = set()
    for request in itertools.islice(batch_requests("r1", keys, steps), 3):
        points = body(request)["metrics"]
        assert isinstance(points, list)
        assert len(points) == 1000
        seen.update((point["key"], point["step"]) for point in points)
    assert len(seen) == 3000
    assert len({key for key, _ in seen}) == keys


def test_runs_have_names_of_their_own() -> None:
    names = [body(request)["run_name"] for request in itertools.islice(run_requests(), 3)]
    assert len(set(map(str, names))) == 3


def test_seeds_are_the_same_every_time() -> None:
    runs = list(seed_runs(20))
    assert runs == list(seed_runs(20))
    assert len({run.run_id for run in runs}) == 20
    assert all((len(run.metrics), len(run.params), len(run.tags)) == (10, 10, 5) for run in runs)


def test_a_shared_stream_gives_each_request_once() -> None:
    streams = share(iter([b"a", b"b", b"c"]), 2)
    drawn = [next(streams[0]), next(streams[1]), next(streams[0])]
    assert drawn == [b"a", b"b", b"c"]
    assert next(streams[1], None) is None


def test_figures_are_medians_by_side() -> None:
    got = figures({"mlflow": [1.0, 9.0, 2.0], "mlwright": []})
    assert got.peer == 2
    assert got.ours is None


def test_measurements_alternate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(peer_python=tmp_path, rounds=2, seconds=1, root=tmp_path / "root")
    servers = {side: Server(side, [], tmp_path, 1) for side in ("mlflow", "mlwright")}
    monkeypatch.setattr(bench, "servers", lambda group: servers)
    order: list[str] = []

    def measure(server: Server) -> float:
        order.append(server.name)
        return float(len(order))

    got = bench.alternate("any", measure)
    assert order == ["mlflow", "mlwright", "mlflow", "mlwright"]
    assert (got.peer, got.ours) == (2.0, 3.0)


class Recorded(Server):
    """A server that only remembers what was asked of it."""

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


def test_the_other_server_stands_still_while_one_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(peer_python=tmp_path, rounds=1, seconds=1, root=tmp_path / "root")
    monkeypatch.setattr(bench, "new_server", lambda side, root: Recorded(side, [], tmp_path, 1))
    monkeypatch.setattr(Recorded, "start", lambda self: 0.0)
    monkeypatch.setattr("benchmarks.bench.warm", lambda server: None)
    servers = bench.servers("any")
    seen = []

    def measure(server: Server) -> float:
        seen.append({each.name: each.paused for each in servers.values()})
        return 1.0

    bench.alternate("any", measure)
    assert seen == [{"mlflow": False, "mlwright": True}, {"mlflow": True, "mlwright": False}]
    assert not any(each.paused for each in servers.values())


def test_servers_go_on_when_a_measurement_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(peer_python=tmp_path, rounds=1, seconds=1, root=tmp_path / "root")
    other = Recorded("other", [], tmp_path, 1)
    monkeypatch.setattr(bench, "_servers", {"other": other})
    with pytest.raises(RuntimeError, match="no answer"), bench.alone(Recorded("measured", [], tmp_path, 2)):
        assert other.paused
        raise RuntimeError("no answer")
    assert not other.paused


def test_it_finds_the_version_of_what_is_measured() -> None:
    assert suite.said([*mlwright_command(), "--version"]) == __version__


def test_a_failing_row_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = Row(name="good", label="good", unit="", peer=1.0, ours=1.0, must="")

    def fail(bench: Bench) -> list[Row]:
        raise RuntimeError("no answer")

    bench = Bench(peer_python=tmp_path, rounds=1, seconds=1, root=tmp_path)
    assert suite.measure(bench, {"bad": fail, "good": lambda bench: [good]}) == [good]
    assert "bad: failed: RuntimeError: no answer" in capsys.readouterr().err


@pytest.mark.parametrize("module", [tracking, registry])
def test_a_missing_peer_is_a_usage_error(
    tmp_path: Path, module: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert module.main(["--peer", str(tmp_path / "python")]) == 2
    assert "hint:" in capsys.readouterr().err


def test_weighing_counts_a_distribution_and_what_it_needs() -> None:
    weighed = weigh(Path(sys.executable), "pytest")
    assert weighed["distributions"] >= 4  # pytest, pluggy, iniconfig, packaging, pygments
    assert weighed["bytes"] > 1_000_000
