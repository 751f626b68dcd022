"""Code and environment of a run, as its client captured them: commit, uncommitted changes, packages, machine."""

import json
import re
from collections.abc import Mapping

import msgspec

from mlwright.kernel.errors import MlwrightError
from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.tracking.ui.details import Head
from mlwright.web.files import Files, StoredFile

_FOLDER = "environment"
_LOCK, _DOCUMENT, _DIFF = "requirements.lock.txt", "environment.json", "dirty.diff"
_READ_BYTES = 512 << 10
_MAX_DIFF_LINES = 3_000
_MAX_FACTS = 100
_PACKAGE = re.compile(r"^([A-Za-z0-9._-]+)(\[[^]]*\])?\s*==\s*([^\s;#\\]+)")
#: Tags that are facts of the environment, in the order shown. Names are shown as they are: they are searched by.
FACT_TAGS = (
    "mlwright.git.commit", "mlflow.source.git.commit", "mlflow.source.git.branch", "mlflow.source.git.repoURL",
    "mlwright.git.dirty", "mlwright.command", "mlflow.source.name", "mlflow.project.entryPoint", "mlwright.python",
    "mlwright.platform", "mlflow.user", "mlflow.databricks.cluster.id", "mlflow.docker.image.name",
)  # fmt: skip


class Captured(msgspec.Struct, frozen=True):
    """What is known of a run's environment.

    Attributes:
        facts: from tags and environment.json, by dotted name.
        packages: versions by name.
        diff: the uncommitted changes as unified diff; None when none were captured.
        cut: whether the diff was longer.
    """

    facts: dict[str, str]
    packages: dict[str, str]
    diff: list[str] | None
    cut: bool


class EnvironmentPage(msgspec.Struct, frozen=True):
    head: Head
    captured: Captured


def find(tx: Tx, caller: Caller, files: Files, artifact_uri: str) -> dict[str, StoredFile]:
    """The captured files of a run by name."""
    found: dict[str, StoredFile] = {}
    try:
        present = {entry.name for entry in files.entries(tx, caller, artifact_uri, _FOLDER) if not entry.is_dir}
        for name in (_LOCK, _DOCUMENT, _DIFF):
            if name in present:
                found[name] = files.find(tx, caller, artifact_uri, f"{_FOLDER}/{name}")
    except MlwrightError:  # artifacts that are stored elsewhere are not ours to read
        return {}
    return found


def read(files: Files, found: Mapping[str, StoredFile], tags: Mapping[str, str]) -> Captured:
    """Read the files and put them together with the tags. Blocks."""
    texts = {name: files.read(file, _READ_BYTES).decode("utf-8", "replace") for name, file in found.items()}
    facts = {key: tags[key] for key in FACT_TAGS if tags.get(key)}
    facts |= document_facts(texts.get(_DOCUMENT, ""))
    diff = texts[_DIFF].splitlines() if _DIFF in texts else None
    cut = diff is not None and len(diff) > _MAX_DIFF_LINES
    return Captured(facts, packages(texts.get(_LOCK, "")), None if diff is None else diff[:_MAX_DIFF_LINES], cut)


def packages(lock: str) -> dict[str, str]:
    """name → version of a requirements file with pinned versions."""
    found = (_PACKAGE.match(line) for line in lock.splitlines())
    return {match[1].lower(): match[3] for match in found if match}


def document_facts(text: str) -> dict[str, str]:
    """The leaves of a JSON object by dotted name; nothing when it is none."""
    try:
        document = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    found: dict[str, str] = {}
    stack: list[tuple[str, object]] = [("", document)]
    while stack and len(found) < _MAX_FACTS:
        name, value = stack.pop()
        if isinstance(value, dict):
            stack += [(f"{name}.{key}" if name else str(key), each) for key, each in reversed(value.items())]
        elif name:
            found[name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[:500]
    return found
