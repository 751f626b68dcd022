"""Reads what a run says about how it came about, from tags and files that anybody may have written."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec

from mlwright.kernel.client import Client
from mlwright.reproduction import execution, spec
from mlwright.reproduction.spec import LocalPackage, Record

_UNTRACKED = "# untracked: "
_CUT = "# cut after "
_PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._,\s-]*\])?\s*[=<>!~][^;#\\]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read(client: Client, run: Mapping[str, Any]) -> Record:
    """The record of a run, as its API answer has it. Raises what the API raises."""
    run_id, tags = str(run["run_id"]), run["tags"]
    document = _object(execution.fetch(client, run_id, f"{spec.FOLDER}/{spec.DOCUMENT}"))
    lock = _text(execution.fetch(client, run_id, f"{spec.FOLDER}/{spec.LOCK}"))
    diff = execution.fetch(client, run_id, f"{spec.FOLDER}/{spec.DIFF}")
    changes, untracked = _changes(diff)
    lines = [line.strip() for line in (lock or "").splitlines() if _PINNED.fullmatch(line.strip())]
    wanted = [] if lines else _of_models(client, run)
    code = _object_in(document, "git")
    return Record(
        run_id,
        str(run["name"]),
        int(run["experiment_id"]),
        str(run["status"]),
        command=_words(tags.get(spec.COMMAND_TAG) or str(document.get("command") or "")),
        script=tags.get("mlflow.source.name", ""),
        folder=_folder(str(code.get("folder") or "")),
        commit=_first(tags.get(spec.COMMIT_TAG), tags.get("mlflow.source.git.commit"), code.get("commit")),
        origin=_first(code.get("origin"), tags.get("mlflow.source.git.repoURL")),
        dirty=tags.get(spec.DIRTY_TAG, "").lower() == "true" or code.get("dirty") is True,
        diff=changes,
        untracked=untracked,
        lock=lines or wanted,
        whole=bool(lines),
        local=_local(document.get("local")),
        python=_python(tags, document),
        data=_data(document, run),
        settings={name: value for name, value in _texts(document, "settings").items() if _VARIABLE.fullmatch(name)},
        secrets=[name for name in _list(document.get("secrets")) if _VARIABLE.fullmatch(name)],
    )


def _changes(content: bytes | None) -> tuple[str | None, list[str]]:
    """The diff, None when there is none or only a part of it; and the files that it names and does not hold."""
    if content is None:
        return None, []
    text = content.decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    untracked = [line.removeprefix(_UNTRACKED) for line in lines if line.startswith(_UNTRACKED)]
    return (None if any(line.startswith(_CUT) for line in lines) else text), untracked


def _of_models(client: Client, run: Mapping[str, Any]) -> list[str]:
    """What the models that a run logged say they need."""
    for output in run["model_outputs"]:
        path = f"/v1/logged-models/{quote(output['model_id'], safe='')}/artifacts/requirements.txt"
        content = execution.fetch_from(client, path)
        found = [line.strip() for line in (_text(content) or "").splitlines()]
        lines = [line for line in found if _PINNED.fullmatch(line)]
        if lines:
            return lines
    return []


def _data(document: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, str]:
    """Digests by path. Where only the name of a file was noted, the path is that of the run's dataset."""
    found: dict[str, str] = {}
    places = {PurePosixPath(path).name: path for path in sources(run)}
    for name, digest in _texts(document, "data").items():
        found[places.get(name, name) if "/" not in name else name] = digest
    return found


def sources(run: Mapping[str, Any]) -> list[str]:
    """Paths of the local files that a run's datasets were read from, as MLflow's clients note them."""
    found: list[str] = []
    for each in run["inputs"]:
        source = _object(str(each["dataset"]["source"]).encode())
        address = str(source.get("uri") or "")
        parts = urlsplit(address)
        if address and (parts.scheme == "file" or (not parts.scheme and each["dataset"]["source_type"] != "code")):
            found.append(unquote(parts.path) if parts.scheme else address)
    return list(dict.fromkeys(found))


def _python(tags: Mapping[str, str], document: Mapping[str, Any]) -> str:
    said = tags.get(spec.PYTHON_TAG) or str(_object_in(document, "python").get("version") or "")
    version = re.match(r"\d+\.\d+(\.\d+)?", said)
    return version[0] if version else ""


def _local(found: object) -> list[LocalPackage]:
    try:
        return msgspec.convert(found or [], list[LocalPackage])
    except msgspec.ValidationError:
        return []


def _folder(text: str) -> str:
    """A folder inside the repository; its root when it would lead out of it."""
    path = PurePosixPath(text)
    inside = not path.is_absolute() and ".." not in path.parts
    return path.as_posix() if inside and path.parts else ""


def _first(*texts: object) -> str:
    return next((str(text) for text in texts if text), "")


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return []


def _object(content: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _object_in(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _texts(document: Mapping[str, Any], name: str) -> dict[str, str]:
    return {key: each for key, each in _object_in(document, name).items() if isinstance(each, str)}


def _list(found: object) -> list[str]:
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "replace")
