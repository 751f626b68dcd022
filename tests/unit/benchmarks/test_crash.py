"""The crash row with a real server, once: it is killed while clients write, and takes writes again."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bench import OURS, PEER, Bench
from benchmarks.crash import ready_again


def test_it_is_ready_again_on_the_same_data(tmp_path: Path) -> None:
    bench = Bench(peer_python=tmp_path, rounds=1, seconds=1, sides=(OURS,), scale=0.1, root=tmp_path / "root")
    median, worst = ready_again(bench)
    assert median.ours is not None
    assert median.ours > 0
    assert worst.ours == median.ours
    assert "worst of 1" in worst.label
    assert (tmp_path / "root" / "crash" / "mlwright" / "mlwright.db").exists()


def test_there_is_nothing_to_kill_when_only_the_peer_is_measured(tmp_path: Path) -> None:
    assert ready_again(Bench(peer_python=tmp_path, rounds=1, seconds=1, sides=(PEER,), root=tmp_path)) == []
