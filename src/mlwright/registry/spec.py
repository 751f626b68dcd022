"""The words of the model registry. Times are Unix milliseconds."""

from enum import StrEnum

import msgspec

#: A registered model with this tag is a prompt: MLflow keeps prompts in the registry, and searches leave them out.
PROMPT_TAG = "mlflow.prompt.is_prompt"
#: Topic of changes: something has happened that webhooks may be told.
TOLD = "registry.told"


class Stage(StrEnum):
    """Stages, as older MLflow clients use them; aliases have replaced them."""

    NONE = "None"
    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"


class Alias(msgspec.Struct, frozen=True):
    """A name that leads to one version of a model."""

    alias: str
    version: int


class PinnedFile(msgspec.Struct, frozen=True):
    """A file of a version that says something about the model."""

    path: str
    digest: str


class UsedDataset(msgspec.Struct, frozen=True):
    """Data that the version's run read."""

    name: str
    digest: str
    context: str | None = None


class CodeState(msgspec.Struct, frozen=True):
    """The code that the version's run was started from, as far as its client noted it."""

    commit: str | None = None
    repository: str | None = None
    source: str | None = None


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was known about a version when it was registered. What is unknown is null.

    Attributes:
        signature: names and types of what goes in and comes out.
        flavors: the ways to load the model, with the version of each library where the model says it.
        environment: files that say what the model needs to run.
        input_example: the file with an example of the input.
        python: version of Python the model was saved with.
        experiment_id: of the run.
        datasets: what the run read.
        code: where the run's code came from.
        problem: why the model's own description (MLmodel) could not be read.
    """

    signature: dict[str, object] | None = None
    flavors: dict[str, str | None] | None = None
    environment: list[PinnedFile] | None = None
    input_example: PinnedFile | None = None
    python: str | None = None
    experiment_id: int | None = None
    datasets: list[UsedDataset] | None = None
    code: CodeState | None = None
    problem: str | None = None


class ModelVersion(msgspec.Struct, frozen=True):
    """A version of a registered model: what was registered, for good.

    Attributes:
        source: where the files came from, as the client said.
        storage: URI of the files to download: the pinned ones, or the source when it lies elsewhere.
        digest: of all pinned files; null when the files are not kept here, and so not pinned.
        size: bytes of all pinned files.
        files: how many there are.
        author: who registered it.
        aliases: left empty by searches, as in MLflow.
    """

    row: int
    name: str
    project: str
    version: int
    source: str
    storage: str
    run_id: str | None
    model_id: str | None
    run_link: str | None
    description: str | None
    author: str
    stage: Stage
    digest: str | None
    size: int
    files: int
    facts: Facts
    created_ms: int
    updated_ms: int
    tags: dict[str, str] = {}
    aliases: list[str] = []


class RegisteredModel(msgspec.Struct, frozen=True):
    """A registered model. `latest` holds the newest version of each stage."""

    row: int
    name: str
    project: str
    description: str | None
    created_ms: int
    updated_ms: int
    last_version: int
    tags: dict[str, str] = {}
    aliases: list[Alias] = []
    latest: list[ModelVersion] = []


class NewVersion(msgspec.Struct, frozen=True):
    """What is to be registered; `run_id` and `model_id` are null when the client gave none."""

    name: str
    source: str
    run_id: str | None = None
    model_id: str | None = None
    run_link: str = ""
    description: str = ""
    tags: dict[str, str] = {}

    @property
    def is_prompt(self) -> bool:
        return self.tags.get(PROMPT_TAG, "").lower() == "true"
