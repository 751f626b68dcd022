"""Options that many commands share."""

from collections.abc import Callable
from pathlib import Path
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
