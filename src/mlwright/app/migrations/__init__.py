"""Schema revisions. `upgrade` runs Alembic; a test keeps NEWEST and KNOWN equal to the scripts in versions/."""

from pathlib import Path

from mlwright.kernel.engine import Engine

NEWEST = "0001"
KNOWN = frozenset({"0001"})

FOLDER = Path(__file__).parent


def upgrade(engine: Engine) -> None:
    """Bring an older database up to NEWEST, in one transaction per revision."""
    from alembic import command  # takes most of a second, and is hardly ever needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["engine"] = engine
    command.upgrade(config, "head")
