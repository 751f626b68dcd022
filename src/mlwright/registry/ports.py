"""What is moved in from another model registry, and the port that a source of it implements."""

from typing import Protocol

import msgspec

from mlwright.registry.spec import Stage


class MovedRegisteredModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A registered model elsewhere, without its versions. Times are Unix milliseconds, 0 when unknown.

    Attributes:
        aliases: the number of the version that each leads to.
    """

    name: str
    description: str = ""
    created_ms: int = 0
    updated_ms: int = 0
    tags: dict[str, str] = {}
    aliases: dict[str, int] = {}


class MovedVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version of a registered model elsewhere, without its files.

    Attributes:
        storage: URI of what its clients download, if known; `source` is what was registered.
        run_id: of the run that made it; empty when there is none, as is `model_id` of the logged model.
    """

    version: int
    source: str
    storage: str = ""
    run_id: str = ""
    model_id: str = ""
    run_link: str = ""
    description: str = ""
    author: str = ""
    stage: Stage = Stage.NONE
    created_ms: int = 0
    updated_ms: int = 0
    tags: dict[str, str] = {}


class RegistrySource(Protocol):
    """A model registry elsewhere, for reading. Raises NotFound, Invalid, Unavailable, with hints."""

    def registered_models(self) -> list[MovedRegisteredModel]:
        """All registered models and prompts, by name."""
        ...

    def versions(self, model: MovedRegisteredModel) -> list[MovedVersion]:
        """The versions of a model by number, without deleted ones."""
        ...
