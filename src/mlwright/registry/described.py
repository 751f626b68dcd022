"""What is said of versions: how two of them differ, and the model card of one. Times are Unix milliseconds.

What is unknown is null, never an empty text.
"""

from enum import StrEnum

import msgspec

from mlwright.registry.gates.spec import Check, Standing
from mlwright.registry.signatures.spec import VersionSignature
from mlwright.registry.spec import CodeState, PinnedFile, UsedDataset


class ChangeKind(StrEnum):
    """What became of one thing from the left version to the right one."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Change(msgspec.Struct, frozen=True):
    """One thing that differs; `left` is null when it was added, `right` when it was removed."""

    name: str
    kind: ChangeKind
    left: object | None
    right: object | None


class Aspect(msgspec.Struct, frozen=True):
    """One side of two versions.

    Attributes:
        name: metrics, parameters, signature, data, code, environment or files.
        equal: how many things are the same in both.
        changes: what differs, by name.
        unknown: which versions nothing is known of here: "left", "right" or both. Then nothing is compared.
    """

    name: str
    equal: int
    changes: list[Change]
    unknown: list[str] = []


class VersionName(msgspec.Struct, frozen=True):
    """Which version is meant. `digest` is null when its files are not kept here."""

    project: str
    name: str
    version: int
    digest: str | None


class Difference(msgspec.Struct, frozen=True):
    """How two versions differ. `identical`: both have the same files, to the byte; null when that is unknown."""

    left: VersionName
    right: VersionName
    identical: bool | None
    aspects: list[Aspect]


class CardMetric(msgspec.Struct, frozen=True):
    """A metric as it was logged last; `dataset` is what it was computed on, where that was said."""

    name: str
    value: float | str
    dataset: str | None = None


class CardFile(msgspec.Struct, frozen=True):
    """A pinned file; `size` is in bytes."""

    path: str
    size: int
    digest: str


class CardRun(msgspec.Struct, frozen=True):
    """The run that made the version. Null fields: the run is not there, or may not be seen."""

    run_id: str
    experiment: str | None
    name: str | None
    user: str | None
    status: str | None
    started_ms: int | None
    parameters: dict[str, str] | None


class Card(msgspec.Struct, frozen=True):
    """A model card: what is known about a version. Null is unknown.

    Attributes:
        purpose: the model's description. `notes`: the version's own.
        owner: who registered it.
        storage: where its files are downloaded from.
        metrics: of its logged model, else of its run.
        slices: checks of gates on parts of the evaluation, and on fairness.
        environment: files that say what it needs; `python` and `flavors` as the model says.
        packages: what its requirements.txt asks for, such as "==2.3".
        files: null when they are not kept here.
        signatures: who vouched for these files, and whether that counts.
        limits: what the reader is to know: what is not known, not passed, not kept.
    """

    project: str
    name: str
    version: int
    digest: str | None
    stage: str
    aliases: list[str]
    tags: dict[str, str]
    registered_ms: int
    owner: str
    purpose: str | None
    notes: str | None
    source: str
    storage: str
    run: CardRun | None
    data: list[UsedDataset] | None
    metrics: list[CardMetric] | None
    slices: list[Check] | None
    gates: list[Standing]
    signature: dict[str, object] | None
    input_example: PinnedFile | None
    environment: list[PinnedFile] | None
    packages: dict[str, str] | None
    python: str | None
    flavors: dict[str, str | None] | None
    code: CodeState | None
    files: list[CardFile] | None
    size: int
    signatures: list[VersionSignature]
    limits: list[str]
