"""Make a virtual environment from a hash-pinned constraints file. Needs nothing but the standard library.

    python3 -m tools.bootstrap .venv constraints/dev.txt --editable
    python3 -m tools.bootstrap .venv-demo constraints/demo.txt

Every distribution is checked against its pinned hash. A stamp in the environment holds the digest of the
inputs: a second call with the same inputs does nothing. Uses uv (itself installed from the pinned file)
because it is about ten times faster, and pip when uv cannot reach the index that pip is set up for.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = ".mlwright-stamp"
# The editable install runs the build hook; a change of any of these must install again.
PROJECT_INPUTS = (
    "pyproject.toml",
    "hatch_build.py",
    "package.json",
    "package-lock.json",
    "tools/echarts.mjs",
)
MINIMUM = (3, 11)

_NOT_INHERITED = frozenset({"VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"})
#: What every start imports. Without its byte code, each start would compile hundreds of modules again.
_STARTED = "import mlwright.app.cli, mlwright.app.commands.up, mlwright.app.server"


def inputs_digest(constraints: Path, editable: bool) -> str:
    """Return the digest over all that decides what the environment holds."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}{editable}".encode())
    digest.update(constraints.read_bytes())
    for name in PROJECT_INPUTS if editable else ():
        path = ROOT / name
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def single_pin(constraints: Path, name: str) -> str:
    """Return the lines of one distribution (pin and hashes) from a constraints file.

    Raises LookupError when it is not pinned there.
    """
    lines = constraints.read_text().splitlines()
    for start, line in enumerate(lines):
        if line.startswith(f"{name}=="):
            end = start
            while lines[end].endswith("\\"):
                end += 1
            return "\n".join(lines[start : end + 1]) + "\n"
    raise LookupError(f"{name} is not pinned in {constraints}")


def run(*command: str | Path, quiet: bool = False) -> int:
    """Run a command in the repository root and return its exit code."""
    # A virtual environment of the caller must not redirect uv, and byte code must be kept.
    environment = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
    out = subprocess.DEVNULL if quiet else None
    return subprocess.run(
        [str(part) for part in command], cwd=ROOT, env=environment, stdout=out, check=False
    ).returncode


def create(venv: Path) -> Path:
    """Create the environment if it is not there; return its interpreter."""
    python = venv / "bin" / "python"
    if not python.exists():
        print(f"creating {venv.name} with Python {sys.version.split()[0]}", flush=True)
        shutil.rmtree(venv, ignore_errors=True)
        if run(sys.executable, "-m", "venv", venv) != 0:
            raise SystemExit(
                "error: Python could not create a virtual environment\n\n"
                "hint: on Debian and Ubuntu install it with `apt-get install python3-venv`"
            )
    return python


def install_uv(python: Path) -> bool:
    """Install the pinned uv; return whether that worked."""
    with tempfile.TemporaryDirectory() as folder:
        pin = Path(folder) / "uv.txt"
        pin.write_text(single_pin(ROOT / "constraints" / "dev.txt", "uv"))
        # -qq: pip's notes about local link folders say nothing of use here; errors still show.
        pip = (python, "-m", "pip", "--disable-pip-version-check", "-qq", "install")
        return run(*pip, "--require-hashes", "-r", pin) == 0


def install_pinned(python: Path, constraints: Path) -> None:
    """Install everything in a constraints file, each file checked against its hash."""
    uv = python.parent / "uv"
    if uv.exists() or install_uv(python):
        # Not `sync`: that would remove what a developer added by hand.
        if run(uv, "pip", "install", "--python", python, "--require-hashes", "-r", constraints) == 0:
            return
        print("uv could not install; trying again with pip (slower)", flush=True)
    if run(python, "-m", "pip", "install", "--require-hashes", "-r", constraints) != 0:
        raise SystemExit("error: the pinned packages could not be installed (see the lines above)")


def install_project(python: Path) -> None:
    """Install this repository in editable mode; its build hook brings the web assets."""
    print("installing mlwright (editable) and its web assets", flush=True)
    if not (shutil.which("npm") and shutil.which("node")):
        install_pinned(python, ROOT / "constraints" / "assets.txt")
    command = (
        "--disable-pip-version-check",
        "-q",
        "install",
        "--no-deps",
        "--no-build-isolation",
        "-e",
        ROOT,
    )
    if run(python, "-m", "pip", *command, quiet=True) != 0:
        raise SystemExit("error: mlwright itself could not be installed (see the lines above)")
    run(python, "-c", _STARTED)


def main() -> None:
    """Parse the command line and bring the environment up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("venv", type=Path)
    parser.add_argument("constraints", type=Path)
    parser.add_argument("--editable", action="store_true", help="also install this repository itself")
    parser.add_argument(
        "--import", dest="imports", default="", help="modules to import once, so that their byte code is kept"
    )
    options = parser.parse_args()
    if sys.version_info < MINIMUM:
        raise SystemExit(
            f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}\n\n"
            "hint: name another interpreter: `make setup PYTHON=python3.12`"
        )
    venv = options.venv.absolute()
    constraints = options.constraints.absolute()
    stamp = venv / STAMP
    wanted = inputs_digest(constraints, options.editable)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    started = time.monotonic()
    python = create(venv)
    install_pinned(python, constraints)
    if options.editable:
        install_project(python)
    if options.imports:
        run(python, "-c", f"import {options.imports}")
    stamp.write_text(wanted)
    print(f"{venv.name} is ready ({time.monotonic() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
