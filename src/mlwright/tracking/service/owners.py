"""What artifact trees belong to: the answer to artifacts' port `Owners`."""

from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import locations, models, runs


class TrackingOwners:
    """Experiments, runs and logged models as owners of artifacts."""

    def project_of(self, tx: Tx, path: str) -> str | None:
        """The project of the experiment whose artifact location is a folder at or above `path`."""
        return locations.project_of(tx, path)

    def require_changeable(self, tx: Tx, path: str) -> None:
        """What runs and models wrote may be overwritten and removed, as in MLflow."""

    def run_root(self, tx: Tx, caller: Caller, run_id: str) -> str:
        return runs.find(tx, caller, run_id).info.artifact_uri

    def model_root(self, tx: Tx, caller: Caller, model_id: str) -> str:
        return models.get(tx, caller, model_id).artifact_uri
