"""A platform with the pages of the registry and something to show on them, spoken to without a network."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from mlwright.app.files import VersionFiles
from mlwright.artifacts import service as artifacts
from mlwright.kernel import store
from mlwright.kernel.blobs import blob_of
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.resources import API_VERSION, Manifest, Metadata
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import aliases, gates, models, registration
from mlwright.registry.spec import ModelVersion, NewVersion
from mlwright.tracking.service import runs
from tests.contract.registry import FILES, OWNERS
from tests.unit.tracking.ui_world import World

#: Registers; nobody in particular otherwise.
ADA = Caller("ada", roles={"default": Role.EDITOR})
PASSES: dict[str, Any] = {"name": "smoke", "command": {"command": ["true"]}}
FAILS: dict[str, Any] = {"name": "smoke", "command": {"command": ["sh", "-c", "echo '<b>no</b>'; exit 3"]}}
LEAD: dict[str, Any] = {"name": "lead", "approval": {}}


class RegistryWorld(World):
    """A world in which models can be registered and gates be asked."""

    def model(self, name: str, project: str = "default", **named: Any) -> None:
        self.write(lambda tx: models.create(tx, LOCAL, name, project=project, **named))

    def register(
        self,
        name: str = "tree",
        files: Mapping[str, bytes] = FILES,
        metrics: dict[str, float] | None = None,
        caller: Caller = ADA,
        **named: Any,
    ) -> ModelVersion:
        """A version from a run of its own; the model must be there."""
        run_id = self.run(0, f"run of {name}", metrics or {"accuracy": 0.5}, {"depth": "3"})
        for path, content in files.items():
            self.put(run_id, f"model/{path}", content)
        root = self.platform.database.read_now(lambda tx: runs.find(tx, LOCAL, run_id).info.artifact_uri)
        new = NewVersion(name, f"{root}/model", run_id, **named)
        files_of = VersionFiles(self.platform.blobs)
        return asyncio.run(registration.register(self.platform.database, files_of, caller, new))

    def put(self, run_id: str, path: str, content: bytes) -> None:
        """Store a small artifact of a run, as the server stores small ones: in the database."""

        def work(tx: Tx) -> None:
            root = runs.find(tx, LOCAL, run_id).info.artifact_uri
            artifacts.put(tx, LOCAL, OWNERS, artifacts.resolve(root, path), blob_of(content), content)

        self.write(work)

    def policy(self, *asked: dict[str, Any], name: str = "production", project: str = "default", **spec: Any) -> None:
        body = {"gates": list(asked), "aliases": ["champion"], "stages": ["Production"], **spec}
        manifest = Manifest(API_VERSION, "GatePolicy", Metadata(name, project), body)
        self.write(lambda tx: store.apply(tx, LOCAL, gates.KIND, manifest))

    def run_gates(self) -> None:
        while self.platform.gates.run_one():
            continue

    def alias(self, alias: str, version: int, name: str = "tree", **named: Any) -> None:
        self.write(lambda tx: aliases.move(tx, LOCAL, name, alias, version, **named))

    def say(self, version: ModelVersion, who: Caller, *, approves: bool, comment: str = "") -> None:
        self.write(lambda tx: gates.approve(tx, who, version, "production", "lead", approves=approves, comment=comment))


def person(name: str, role: Role = Role.VIEWER, projects: Sequence[str] = ("default",)) -> Caller:
    return Caller(name, roles=dict.fromkeys(projects, role))


def within(project: str, caller: Caller = LOCAL) -> Caller:
    """The caller with another project of its own."""
    return msgspec.structs.replace(caller, project=project)


@contextmanager
def counting() -> Iterator[list[Query]]:
    """The statements run meanwhile."""
    seen: list[Query] = []
    ask = Tx.all

    def all_(tx: Tx, query: Query, params: Any = None) -> list[tuple[Any, ...]]:
        seen.append(query)
        return ask(tx, query, params)

    with patch.object(Tx, "all", all_):
        yield seen
