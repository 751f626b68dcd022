"""Traffic that does not stop while everything about it changes: a cut of `benchmarks/soak.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from uv import find_uv_bin

from benchmarks.soak import soak
from tests.e2e.harness import components_required

RATE = 150


def has_packages(folder: Path) -> bool:
    """Whether the package that the models need can be installed here."""
    command = [find_uv_bin(), "pip", "install", "--dry-run", "--target", str(folder), f"numpy=={np.__version__}"]
    return subprocess.run([*command, "--python", sys.executable], capture_output=True, check=False).returncode == 0


@pytest.mark.crash
def test_no_request_fails_but_those_in_a_killed_host(tmp_path: Path) -> None:
    if not components_required() and not has_packages(tmp_path / "none"):
        pytest.skip("no package index can be reached, and the models need numpy in an environment of their own")
    seconds = 60.0 if components_required() else 18.0
    report = soak(tmp_path, RATE, seconds, away_s=2.0)
    report.check()
    assert report.sent >= RATE * seconds
    assert {"switch", "canary", "back", "upgrade", "bad canary"} <= set(report.done), report.done
    if components_required():
        assert {"host killed", "control plane away"} <= set(report.done), report.done
