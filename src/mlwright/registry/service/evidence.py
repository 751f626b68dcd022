"""What a gate leaves behind, as artifacts of the model: its report, what its program printed, and documents it made.

They are stored before the answer is written, and named in the transaction that writes it: there is no answer without
its evidence, and bytes that no answer names are collected as garbage.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import msgspec
from sqlalchemy import bindparam, select

from mlwright.artifacts import service as artifacts
from mlwright.kernel.blobs import Blob
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.registry.gates.spec import Decision, Evidence, Gate
from mlwright.registry.service import pinning
from mlwright.registry.spec import ModelVersion
from mlwright.registry.tables import model_versions

#: Beside the folders of versions, which are numbers.
_FOLDER = "evidence"
_model = Query(select(model_versions.c.model).where(model_versions.c.id == bindparam("version")))


class Stored(NamedTuple):
    """Bytes that are kept; `content` holds those that go into the database."""

    blob: Blob
    content: bytes | None


class Store(Protocol):
    """Keeps bytes; blocks."""

    def store(self, data: bytes) -> Stored:
        """Keep them where they belong by their size. Raises StorageFull and Unavailable."""
        ...


class Report(msgspec.Struct, frozen=True):
    """What was asked of which version, and the answer."""

    model: str
    version: int
    digest: str | None
    policy: str
    policy_version: int
    gate: Gate
    beside: dict[str, str | None]
    answer: Decision


def store(files: Store, report: Report) -> dict[str, Stored]:
    """Keep everything there is to an answer, by file name; blocks. Raises StorageFull and Unavailable."""
    answer = report.answer
    bare = msgspec.structs.replace(report, answer=msgspec.structs.replace(answer, documents={}, output=""))
    found = {"report.json": msgspec.json.format(msgspec.json.encode(bare))}
    if answer.output:
        found["output.txt"] = answer.output.encode(errors="replace")
    found |= {name: text.encode() for name, text in answer.documents.items()}
    return {name: files.store(data) for name, data in found.items()}


def planned(tx: Tx, version: ModelVersion, result: int, stored: Mapping[str, Stored]) -> dict[str, Evidence]:
    """Where stored bytes will lie among the artifacts of the version's model."""
    model = tx.one(_model, {"version": version.row})
    root = f"{pinning.folder(int(model[0]) if model else 0)}/{_FOLDER}/{result}"
    return {name: Evidence(f"{root}/{name}", blob.digest, blob.size) for name, (blob, _) in stored.items()}


def name_all(tx: Tx, project: str, kept: Mapping[str, Evidence], stored: Mapping[str, Stored]) -> None:
    """Give stored bytes the names that were planned for them."""
    for name, (blob, content) in stored.items():
        artifacts.keep(tx, kept[name].path, project, blob, content)
