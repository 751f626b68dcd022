"""The demo's own environment: its interpreter, and a way to run tests there with this environment's pytest."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

from tests.components import missing

ROOT = Path(__file__).resolve().parents[3]
# The demo's libraries come first; what is not among them (pytest, psutil) is found here.
_RUN_PYTEST = "import sys; sys.path.append(sys.argv.pop(1)); import pytest; sys.exit(pytest.main(sys.argv[1:]))"


def demo_python() -> Path:
    """The interpreter of the demo's environment (MLWRIGHT_DEMO_PYTHON, else .venv-demo); skips without one."""
    named = os.environ.get("MLWRIGHT_DEMO_PYTHON")
    python = Path(named) if named else ROOT / ".venv-demo" / "bin" / "python"
    if not os.access(python, os.X_OK):
        missing(f"the demo's environment ({python}): make it with `make setup-demo`")
    return python


def run_pytest(*arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run pytest in the demo's environment from the repository's root; the output is captured as one text."""
    site = sysconfig.get_path("purelib")
    # Warnings of libraries that are not ours are not errors.
    options = ["-W", "default", "-p", "no:cacheprovider", "-q", *arguments]
    return subprocess.run(
        [str(demo_python()), "-c", _RUN_PYTEST, site, *options],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
