"""Registered versions as tracking sees them: its port `Registered`, on the registry."""

from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.transaction import Tx
from mlwright.registry import search
from mlwright.registry.service import rows
from mlwright.registry.ui import address
from mlwright.tracking.ui.ports import RegisteredVersion

_MOST = 100


class RegisteredVersions:
    """Versions by the run they were registered from."""

    def of_run(self, tx: Tx, caller: Caller, run_id: str) -> list[RegisteredVersion]:
        found = search.versions_of_run(tx, run_id, _MOST)
        aliases = rows.aliases_of(tx, sorted({row[-1] for row in found})) if found else {}
        return [
            RegisteredVersion(
                each.name,
                each.version,
                address.of_version(each.project, each.name, each.version),
                each.model_id or "",
                each.stage.value,
                [alias.alias for alias in aliases.get(row[-1], []) if alias.version == each.version],
            )
            for row, each in zip(found, rows.versions(tx, [row[:-1] for row in found]), strict=True)
            if caller.may(each.project, Role.VIEWER)
        ]
