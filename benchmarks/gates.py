"""Gates: from registering the flights model to the answers of all of its gates, as `make demo` does it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.report import Row

ROOT = Path(__file__).resolve().parent.parent
MAX_SECONDS = 20
MAX_VALIDATION_SECONDS = 2


def flights(bench: Bench) -> list[Row]:
    """The demo's two good versions: the first builds the model's environment, the second finds it."""
    passed = [version for version in demo(quick=bench.scale < 1) if not version["reason"]]
    first, best = passed[0], passed[-1]
    return [
        _row("gates_first", "flights model: registered to all gates passed, its environment built", first["seconds"]),
        _row("gates", "flights model: registered to all gates passed", best["seconds"]),
        _row("validation", "of that, validation on 100,000 rows", best["gates"]["quality"], MAX_VALIDATION_SECONDS),
    ]


def demo(*, quick: bool) -> list[dict[str, Any]]:
    """Run it, and return what it tells of the versions."""
    with tempfile.TemporaryDirectory(prefix="mlwright-bench-") as folder:
        summary = Path(folder) / "summary.json"
        options = ["--data", str(Path(folder) / "data"), "--summary", str(summary), *(["--quick"] if quick else [])]
        command = [sys.executable, "-m", "examples.flights", *options]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        found: list[dict[str, Any]] = json.loads(summary.read_text())["versions"]
        return found


def _row(name: str, label: str, seconds: float, most: int = MAX_SECONDS) -> Row:
    return Row(
        name=name,
        label=label,
        unit="s",
        peer=None,
        ours=seconds,
        must=f"≤ {most} s",
        better="lower",
        max_value=most,
    )
