"""Keeps the first migration and the test database of the first release in step with the tables.

    python -m tools.schema first      write app/migrations/versions/revision_0001.py anew from the tables
    python -m tools.schema revision MESSAGE    draft the next revision from what changed since
    python -m tools.schema dump       write tests/data/release-0.1.0.sql anew: a database of that release, with data

`first` and `dump` are for the time before the first release only: afterwards both files are history.
"""

from __future__ import annotations

import argparse
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from alembic.autogenerate import api, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations.ops import CreateIndexOp, CreateTableOp, MigrateOperation, UpgradeOps
from sqlalchemy import create_engine
from sqlalchemy.types import LargeBinary, TypeEngine

import mlwright.app.wiring  # noqa: F401 - registers all tables
from mlwright.app import migrations
from mlwright.kernel.columns import METADATA, Bytes, Float64, Int64, String, share_condition

ROOT = Path(__file__).parent.parent
DUMP = ROOT / "tests" / "data" / "release-0.1.0.sql"
FIRST = migrations.FOLDER / "versions" / "revision_0001.py"
_HEAD = '''"""{title}

Revision: {revision}, after {parent}.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "{revision}"
down_revision = {down!r}
branch_labels = None
depends_on = None

Int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Float64: sa.Double[float] = sa.Double()
String = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
Bytes = sa.LargeBinary()


'''
_NAMES: tuple[tuple[TypeEngine[Any], str], ...] = (
    (Int64, "Int64"), (Float64, "Float64"), (String, "String"), (Bytes, "Bytes"),
)  # fmt: skip


for _table in METADATA.tables.values():
    for _index in _table.indexes:
        share_condition(_index)  # scripts state it for both databases


def _render_item(kind: str, item: Any, context: api.AutogenContext) -> str | Literal[False]:
    """Column types by the short names that the script defines."""
    if kind != "type":
        return False
    for known, name in _NAMES:
        if item is known or (name == "Bytes" and isinstance(item, LargeBinary)):
            return name
    return False


def everything() -> str:
    """A function for each table of now, and the one that calls them all."""
    context = MigrationContext.configure(dialect_name="postgresql", opts={"target_metadata": METADATA})
    tables = sorted(METADATA.tables.values(), key=lambda each: each.name)
    parts = []
    for table in tables:
        indexes = sorted(table.indexes, key=lambda each: str(each.name))
        operations: list[MigrateOperation] = [CreateTableOp.from_table(table), *map(CreateIndexOp.from_index, indexes)]
        code = render_python_code(UpgradeOps(operations), render_item=_render_item, migration_context=context)
        parts.append(_function(table.name, code))
    return "\n\n".join([_function("upgrade", "\n".join(f"{table.name}()" for table in tables)), *parts])


def _function(name: str, operations: str) -> str:
    lines = [f"    {line}".rstrip() for line in operations.splitlines() if "###" not in line]
    return "\n".join([f"def {name}() -> None:", *lines, ""])


def difference(url: str) -> str:
    """The operations that turn the database at an SQLAlchemy URL into the tables of now."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            options = {"render_item": _render_item, "target_metadata": METADATA}
            context = MigrationContext.configure(connection, opts=options)
            found = produce_migrations(context, METADATA)
            assert isinstance(found.upgrade_ops, UpgradeOps)
            return render_python_code(found.upgrade_ops, render_item=_render_item, migration_context=context)
    finally:
        engine.dispose()


def write(path: Path, revision: str, down: str | None, title: str, code: str) -> None:
    """Write one revision, formatted as the rest of the code."""
    head = _HEAD.format(title=f"{title}.", revision=revision, parent=down or "nothing", down=down)
    path.write_text(head + code)
    ruff = [str(Path(sys.executable).parent / "ruff")]
    subprocess.run([*ruff, "check", "-q", "--fix-only", str(path)], check=True)
    subprocess.run([*ruff, "format", "-q", str(path)], check=True)


def draft(message: str) -> Path:
    """Write the next revision from the difference between the newest one and the tables."""
    number = f"{int(migrations.NEWEST) + 1:04d}"
    with tempfile.TemporaryDirectory() as folder:
        from mlwright.kernel.sqlite import SqliteEngine

        path = Path(folder) / "old.db"
        migrations.upgrade(SqliteEngine(f"sqlite:///{path}"))
        operations = difference(f"sqlite:///{path}")
    target = FIRST.with_name(f"{number}_{'_'.join(message.lower().split())}.py")
    write(target, number, migrations.NEWEST, message, _function("upgrade", operations))
    return target


def dump() -> None:
    """Write the test database of the first release."""
    from tests.unit.app.sample import fill  # the data that the tests look for

    with tempfile.TemporaryDirectory() as folder:
        path = fill(Path(folder))
        connection = sqlite3.connect(path)
        DUMP.parent.mkdir(exist_ok=True)
        DUMP.write_text("\n".join(connection.iterdump()) + "\n")
        connection.close()


def main() -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["first", "revision", "dump"])
    parser.add_argument("message", nargs="?", default="change")
    options = parser.parse_args()
    if options.action == "first":
        write(FIRST, "0001", None, "The tables of the first release", everything())
    elif options.action == "revision":
        print(draft(options.message))
    else:
        dump()


if __name__ == "__main__":
    main()
