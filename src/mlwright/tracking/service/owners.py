"""What artifact trees belong to: the answer to artifacts' port `Owners`."""

from sqlalchemy import bindparam, select

from mlwright.kernel.identity import Caller
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import models, runs
from mlwright.tracking.tables import experiments

_SCHEME = "mlflow-artifacts:/"
_MAX_EXPERIMENT_DIGITS = 18

_by_number = Query(
    select(experiments.c.project, experiments.c.artifact_location).where(experiments.c.id == bindparam("id"))
)
_by_location = Query(
    select(experiments.c.project)
    .where(experiments.c.artifact_location.in_([bindparam("one"), bindparam("two")]))
    .limit(1)
)


class TrackingOwners:
    """Experiments, runs and logged models as owners of artifacts."""

    def project_of(self, tx: Tx, path: str) -> str | None:
        """The project of the experiment whose artifact location is a folder at or above `path`."""
        first = path.partition("/")[0]
        if first.isdigit() and len(first) <= _MAX_EXPERIMENT_DIGITS:
            row = tx.one(_by_number, {"id": int(first)})
            if row is not None and row[1].rstrip("/") == f"{_SCHEME}{first}":
                return str(row[0])
        parts = path.split("/")
        for end in range(len(parts), 0, -1):
            location = _SCHEME + "/".join(parts[:end])
            row = tx.one(_by_location, {"one": location, "two": f"{location}/"})
            if row is not None:
                return str(row[0])
        return None

    def run_root(self, tx: Tx, caller: Caller, run_id: str) -> str:
        return runs.find(tx, caller, run_id).info.artifact_uri

    def model_root(self, tx: Tx, caller: Caller, model_id: str) -> str:
        return models.get(tx, caller, model_id).artifact_uri
