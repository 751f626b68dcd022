"""What artifact trees belong to, over all slices: the port `Owners` of artifacts."""

from mlwright.kernel.transaction import Tx
from mlwright.registry.service import owners as registry
from mlwright.tracking.service.owners import TrackingOwners


class AllOwners(TrackingOwners):
    """Experiments, runs, logged models, and the versions of registered models."""

    def project_of(self, tx: Tx, path: str) -> str | None:
        return registry.project_of(tx, path) if registry.is_pinned(path) else super().project_of(tx, path)

    def require_changeable(self, tx: Tx, path: str) -> None:
        registry.require_changeable(path)
        super().require_changeable(tx, path)
