"""Artifacts through the server's proxy, by the real client: one large file, many small ones, and memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import Bench, Benchmark, figures
from benchmarks.report import Row
from benchmarks.servers import Server

GROUP = "artifacts"
LARGE_BYTES = 10**9
SMALL_FILES = 2_000
SMALL_BYTES = 2_048
SAMPLE_S = 0.1
MIB = 2**20


class MemoryWatch:
    """Samples the PSS of a server's processes in a thread; `growth` is the peak above the start."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self._first = self._peak = server.pss_bytes()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._peak = max(self._peak, self._server.pss_bytes())

    @property
    def growth(self) -> int:
        return self._peak - self._first


def large_file(folder: Path, size: int) -> Path:
    """A file of that many bytes that does not compress."""
    folder.mkdir(parents=True, exist_ok=True)
    path, block = folder / "large.bin", os.urandom(1 << 22)
    with path.open("wb") as out:
        written = 0
        while written < size:
            written += out.write(block[: size - written])
    return path


def small_files(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"file-{number:05d}.bin").write_bytes(os.urandom(SMALL_BYTES))
    return folder


Measure = Callable[[Server], dict[str, float]]


def both_ways(bench: Bench, measure: Measure) -> dict[str, dict[str, list[float]]]:
    """The series of every figure of a job by side: `{figure: {side: [..]}}`; the disk is idle before each."""
    series: dict[str, dict[str, list[float]]] = {}
    servers = bench.servers(GROUP)
    for _ in range(bench.rounds):
        for side in bench.sides:
            os.sync()
            with bench.alone(servers[side]):
                measured = measure(servers[side])
            for name, value in measured.items():
                series.setdefault(name, {}).setdefault(side, []).append(value)
    return series


def large(bench: Bench) -> list[Row]:
    size = int(LARGE_BYTES * bench.scale)
    path = large_file(bench.root / "large", size)

    def measure(server: Server) -> dict[str, float]:
        with MemoryWatch(server) as memory:
            done = bench.clients().run("transfer_file", server.url, path=str(path))
        return {**done, "growth": memory.growth / MIB}

    series = both_ways(bench, measure)
    rows = []
    for way, label in (("up", "upload"), ("down", "download")):
        got = figures(series[f"{way}_bytes_per_second"])
        rows.append(
            Row(
                name=f"artifact_large_{way}",
                label=f"artifact of {size / 1e9:.3g} GB, client {label}",
                unit="MB/s",
                peer=got.peer and got.peer / 1e6,
                ours=got.ours and got.ours / 1e6,
                must="≥ 2×",
                min_ratio=2,
            )
        )
    growth = figures(series["growth"])
    rows.append(
        Row(
            name="artifact_large_memory",
            label="server memory above idle during it, peak",
            unit="MiB",
            peer=growth.peer,
            ours=growth.ours,
            must="flat (≤ 64 MiB)",
            better="lower",
            max_value=64,
        )
    )
    return rows


def small(bench: Bench) -> list[Row]:
    count = int(SMALL_FILES * bench.scale)
    folder = small_files(bench.root / "small" / "files", count)
    series = both_ways(bench, lambda server: bench.clients().run("transfer_folder", server.url, path=str(folder)))
    limits = bench.client_limits("transfer_folder", path=str(folder))
    rows = []
    for way, label in (("up", "upload"), ("down", "download")):
        figure = f"{way}_files_per_second"
        got = figures(series[figure])
        rows.append(
            Row(
                name=f"artifact_small_{way}",
                label=f"{count:,} files of 2 KiB, client {label}",
                unit="files/s",
                peer=got.peer,
                ours=got.ours,
                must="≥ 5×",
                min_ratio=5,
                limit=limits[figure],
            )
        )
    return rows


BENCHMARKS: dict[str, Benchmark] = {"artifact_large": large, "artifact_small": small}
