"""Runs that repeat another one, by the tag that says so."""

from typing import Any

from sqlalchemy import bindparam, literal_column, select

from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import runs as service
from mlwright.tracking.spec import REPRODUCES_TAG, Run
from mlwright.tracking.tables import experiments, runs, tags

#: The newest ones; there is no use in more.
MOST = 1_000
_columns: list[Any] = [*runs.c, experiments.c.project]
_of_run = Query(
    select(*_columns)
    .join(tags, tags.c.run == runs.c.id)
    .join(experiments, experiments.c.id == runs.c.experiment_id)
    .where(
        # Spelled as the condition of the index, so that it is used.
        tags.c.key == literal_column(f"'{REPRODUCES_TAG}'"),
        tags.c.value == bindparam("run_id"),
        runs.c.active == literal_column("1"),
    )
    .order_by(runs.c.start_ms.desc(), runs.c.run_id)
    .limit(MOST)
)


def of_run(tx: Tx, caller: Caller, run_id: str) -> list[Run]:
    """The runs that repeat a run and that the caller may see, the newest first. Raises NotFound."""
    found = service.find(tx, caller, run_id).info.run_id
    rows = [row for row in tx.all(_of_run, {"run_id": found}) if caller.may(row[-1], Role.VIEWER)]
    return service.load(tx, [service.info_from_row(row[:-1]) for row in rows])
