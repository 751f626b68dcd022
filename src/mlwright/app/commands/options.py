"""What many commands share: an option, and how this program is called."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any

import click

from mlwright.app.settings import default_data_dir

data_option: Callable[[Any], Any] = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_data_dir,
    show_default="MLWRIGHT_DATA or ~/.mlwright",
    help="Directory of all state.",
)


def this_program() -> str:
    """How a shell calls this program again: by its name where that leads here, else as it was called now."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{quote(sys.executable)} -m mlwright"
    found = shutil.which(called.name)
    if found is not None and called.exists() and Path(found).samefile(called):
        return called.name
    return quote(sys.argv[0])
