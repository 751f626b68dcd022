"""Schema revisions. `upgrade` runs Alembic; a test keeps NEWEST and KNOWN equal to the scripts in versions/.

Changed a table? `python -m tools.schema revision "what changed"` drafts the next script; then count up NEWEST and
KNOWN. There is no way down: whoever needs the old release again restores a backup.
"""

from pathlib import Path

from mlwright.kernel.engine import Engine

NEWEST = "0001"
KNOWN = frozenset({"0001"})

FOLDER = Path(__file__).parent


def upgrade(engine: Engine, folder: Path = FOLDER) -> None:
    """Bring an older database, or an empty one, up to the newest script in `folder`, in one transaction."""
    from alembic import command  # takes most of a second, and is hardly ever needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    config.attributes["engine"] = engine
    command.upgrade(config, "head")
