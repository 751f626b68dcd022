"""What a version says about itself: read from the model's own description (MLmodel) and from its run.

A description that cannot be read does not prevent registration, as in MLflow; it is noted.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from mlwright.artifacts.spec import ArtifactFile
from mlwright.registry.spec import CodeState, Facts, PinnedFile, UsedDataset
from mlwright.tracking.service.lineage import Lineage

#: The file in which a model describes itself.
DESCRIPTION = "MLmodel"
#: A longer description is not read.
MAX_BYTES = 1 << 20
_ENVIRONMENT = ("conda.yaml", "python_env.yaml", "requirements.txt", "uv.lock", "pylock.toml")
_VERSION_SUFFIX = "_version"


def of_description(content: bytes) -> Facts:
    """The facts in a model's own description."""
    if len(content) > MAX_BYTES:
        return Facts(problem=f"{DESCRIPTION} is larger than {MAX_BYTES} bytes")
    return _parsed(content)


def complete(facts: Facts, files: Sequence[ArtifactFile], lineage: Lineage | None) -> Facts:
    """The facts with what the version's files and run add to them."""
    digests = {file.path: file.digest for file in files}
    environment = [PinnedFile(path, digests[path]) for path in _ENVIRONMENT if path in digests]
    example = facts.input_example
    if example is not None:
        example = PinnedFile(example.path, digests[example.path]) if example.path in digests else None
    found = msgspec.structs.replace(facts, environment=environment or None, input_example=example)
    return found if lineage is None else _with_run(found, lineage)


def _with_run(facts: Facts, lineage: Lineage) -> Facts:
    code = lineage.code
    state = CodeState(code.get("git.commit"), code.get("git.repoURL"), code.get("name"))
    return msgspec.structs.replace(
        facts,
        experiment_id=lineage.experiment_id,
        datasets=[UsedDataset(each.name, each.digest, each.context) for each in lineage.datasets] or None,
        code=None if state == CodeState() else state,
    )


@lru_cache(maxsize=64)
def _parsed(content: bytes) -> Facts:
    """Models registered one after the other often have the same description, and YAML is slow."""
    try:
        document = msgspec.yaml.decode(content)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        return Facts(problem=f"{DESCRIPTION} cannot be read: {str(error)[:200]}")
    if not isinstance(document, dict):
        return Facts(problem=f"{DESCRIPTION} is not a mapping")
    flavors = document.get("flavors")
    flavors = flavors if isinstance(flavors, dict) else {}
    generic = flavors.get("python_function")
    python = generic.get("python_version") if isinstance(generic, dict) else None
    return Facts(
        signature=_signature(document.get("signature")),
        flavors={str(name): _library_version(each) for name, each in flavors.items()} or None,
        input_example=_example(document.get("saved_input_example_info")),
        python=python if isinstance(python, str) else None,
    )


def _signature(found: object) -> dict[str, object] | None:
    """Inputs, outputs and parameters, each of which is a JSON document as text."""
    if not isinstance(found, dict):
        return None
    parts = {str(name): _json(text) for name, text in found.items() if isinstance(text, str)}
    return parts or None


def _json(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _library_version(flavor: object) -> str | None:
    if not isinstance(flavor, Mapping):
        return None
    named: dict[str, Any] = {str(name): value for name, value in flavor.items() if str(name).endswith(_VERSION_SUFFIX)}
    chosen = [value for name, value in named.items() if name != "python_version" and isinstance(value, str)]
    return chosen[0] if chosen else None


def _example(found: object) -> PinnedFile | None:
    path = found.get("artifact_path") if isinstance(found, dict) else None
    return PinnedFile(path, "") if isinstance(path, str) and path else None
