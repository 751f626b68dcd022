"""Where a run came from: what is worth keeping about it when something that it made is registered."""

from typing import NamedTuple

from sqlalchemy import bindparam, select

from mlwright.kernel.identity import Caller
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import runs
from mlwright.tracking.spec import DatasetSummary
from mlwright.tracking.tables import dataset_inputs, datasets, tags

_MAX_DATASETS = 100

_tags_like = Query(
    select(tags.c.key, tags.c.value).where(
        tags.c.run == bindparam("run"), tags.c.key >= bindparam("first"), tags.c.key < bindparam("end")
    )
)
_datasets = Query(
    select(datasets.c.experiment_id, datasets.c.name, datasets.c.digest, dataset_inputs.c.context)
    .join(dataset_inputs, dataset_inputs.c.dataset == datasets.c.id)
    .where(dataset_inputs.c.run == bindparam("run"))
    .order_by(datasets.c.name, datasets.c.digest)
    .limit(bindparam("limit"))
)


class Lineage(NamedTuple):
    """Attributes:
    code: the run's tags below `mlflow.source.`, without that prefix.
    datasets: what it read, at most 100.
    """

    experiment_id: int
    artifact_uri: str
    code: dict[str, str]
    datasets: list[DatasetSummary]


def of_run(tx: Tx, caller: Caller, run_id: str) -> Lineage:
    """The lineage of a run, deleted or not. Raises NotFound."""
    info = runs.find(tx, caller, run_id).info
    prefix = "mlflow.source."
    code = {
        key.removeprefix(prefix): value
        for key, value in tx.all(_tags_like, {"run": info.row, "first": prefix, "end": "mlflow.source/"})
    }
    read = [DatasetSummary(*row) for row in tx.all(_datasets, {"run": info.row, "limit": _MAX_DATASETS})]
    return Lineage(info.experiment_id, info.artifact_uri, code, read)
