"""Alembic's environment: one transaction for all revisions, on a connection of our own engine.

Run by `migrations.upgrade`, which puts the engine into the configuration; there is no other way to run it.
"""

from alembic import context
from sqlalchemy import NullPool, create_engine

from mlwright.kernel.columns import METADATA
from mlwright.kernel.engine import Engine

#: URLs that only choose the dialect: the connection comes from our engine.
_DIALECTS = {"sqlite": "sqlite://", "postgresql": "postgresql+psycopg://"}


def _run(engine: Engine) -> None:
    def connect() -> object:
        return engine.connect(writable=True)

    alchemy = create_engine(_DIALECTS[engine.dialect], creator=connect, poolclass=NullPool)
    with alchemy.connect() as connection:
        for command in engine.begin(writable=True):
            connection.exec_driver_sql(command)
        context.configure(connection=connection, target_metadata=METADATA, transactional_ddl=True)
        context.run_migrations()
        connection.commit()


_run(context.config.attributes["engine"])
