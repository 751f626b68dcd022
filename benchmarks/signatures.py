"""Signatures of model folders: our commands beside those of OpenSSF's reference implementation, in turn."""

from __future__ import annotations

import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.bench import OURS, PEER, Bench, Benchmark
from benchmarks.report import Row
from benchmarks.servers import mlwright_command
from tools.peers import peers_root

MIN_VERIFY_MB_S = 500
LARGE_BYTES, SMALL_BYTES, SMALL_FILES = 600 << 20, 10 << 20, 40


def verify(bench: Bench) -> list[Row]:
    """Signing and verifying a folder, each command from its start to its end; the system has the files in memory."""
    with tempfile.TemporaryDirectory(prefix="mlwright-bench-") as made:
        folder = Path(made)
        megabytes = write_model(folder / "model", bench.scale) / 1e6
        run([*mlwright_command(), "keys", "create", "key", "--no-add"], folder)
        ours = [*mlwright_command(), "models"]
        peer = [str(peers_root() / "model-signing" / "bin" / "model_signing")]
        commands = {
            (OURS, "sign"): [*ours, "sign", "model", "--key", "key.pem", "--signature", "ours.sig"],
            (OURS, "verify"): [*ours, "verify", "model", "--key", "key.pub.pem", "--signature", "ours.sig"],
            (PEER, "sign"): [*peer, "sign", "key", "model", "--private_key", "key.pem", "--signature", "peer.sig"],
            (PEER, "verify"): [
                *peer,
                "verify",
                "key",
                "model",
                "--public_key",
                "key.pub.pem",
                "--signature",
                "peer.sig",
            ],
        }
        seconds: dict[tuple[str, str], list[float]] = {name: [] for name in commands if name[0] in bench.sides}
        if not Path(peer[0]).exists():
            seconds = {name: found for name, found in seconds.items() if name[0] == OURS}
        for _ in range(bench.rounds + 1):
            for name, found in seconds.items():
                found.append(run(commands[name], folder))
    speed = {name: megabytes / statistics.median(found[1:]) for name, found in seconds.items()}
    return [
        Row(
            name=f"signature-{verb}",
            label=f"mlwright models {verb}: 1 GB in 41 files, beside OpenSSF's model_signing",
            unit="MB/s",
            peer=speed.get((PEER, verb)),
            ours=speed.get((OURS, verb)),
            must=f"≥ {MIN_VERIFY_MB_S} MB/s" if verb == "verify" else "–",
            min_value=MIN_VERIFY_MB_S if verb == "verify" else None,
        )
        for verb in ("verify", "sign")
    ]


def write_model(folder: Path, scale: float) -> int:
    """A large file and many smaller ones, of bytes that cannot be packed. Returns how many bytes."""
    folder.mkdir()
    piece = random.Random(1).randbytes(1 << 20)
    sizes = {"weights.bin": LARGE_BYTES, **{f"part-{number}.bin": SMALL_BYTES for number in range(SMALL_FILES)}}
    for name, size in sizes.items():
        with (folder / name).open("wb") as file:
            for _ in range(max(1, int(size * scale) >> 20)):
                file.write(piece)
    return sum(path.stat().st_size for path in folder.iterdir())


def run(command: list[str], folder: Path) -> float:
    """Seconds that a command takes. Raises CalledProcessError when it fails."""
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


BENCHMARKS: dict[str, Benchmark] = {"signatures": verify}
