"""Where the files of a new version come from: which sources are taken, and where they lie.

The rules are MLflow's: a source must lie in the artifacts of the run or logged model that the request names, so that
nobody registers the files of others.
"""

import posixpath
import re
from typing import NamedTuple, NoReturn
from urllib.parse import unquote, unquote_plus, urlparse, urlsplit

from mlwright.artifacts.spec import root_path
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.transaction import Tx
from mlwright.registry import validation
from mlwright.registry.service import aliases, models, versions
from mlwright.registry.spec import ModelVersion, NewVersion
from mlwright.tracking.service import models as logged_models
from mlwright.tracking.service import runs

_PROMPT_SOURCES = ("dummy-source", "prompt-template")
#: Schemes that name a host which the server would have to connect to.
_HOSTED = ("ftp", "sftp", "hdfs", "viewfs", "http", "https", "mlflow-artifacts", "r2", "b2", "abfss")
_ARTIFACTS = "mlflow-artifacts"
_LOCAL_HOSTS = ("localhost", "127.0.0.1")


class Source(NamedTuple):
    """A source that was checked.

    Attributes:
        uri: as it is shown; an alias or stage has become the version's number.
        storage: where the files are.
        folder: their artifact folder on this server; None when they lie elsewhere.
        copied: row of the version whose files they are; 0 when they are none's.
    """

    uri: str
    run_id: str | None
    model_id: str | None
    storage: str
    folder: str | None
    copied: int = 0


class ModelUri(NamedTuple):
    """A `models:/` URI: either a logged model, or a registered one with at most one of version, stage and alias."""

    model_id: str = ""
    name: str = ""
    version: str = ""
    stage: str = ""
    alias: str = ""


def resolve(tx: Tx, caller: Caller, new: NewVersion) -> Source:
    """Check the source of a new version and find its files. Raises Invalid in MLflow's words, and NotFound."""
    if new.is_prompt:
        if new.source not in _PROMPT_SOURCES:
            raise Invalid(
                f"Invalid prompt source: '{new.source}'. Prompt sources must use an MLflow placeholder.", path="source"
            )
        return Source(new.source, new.run_id, new.model_id, new.source, None)
    _check_host(new.source)
    source, run_id, model_id = new.source, new.run_id, new.model_id
    copied = None
    if urlparse(source).scheme == "models":
        copied = _registered(tx, caller, new)
    if copied is not None:
        source = f"models:/{copied.name}/{copied.version}"
        run_id = copied.run_id if run_id is None else run_id
        model_id = copied.model_id if model_id is None else model_id
    if model_id:
        _check_model_source(tx, caller, source, model_id)
    else:
        _check_run_source(tx, caller, source, run_id or "")
    storage = copied.storage if copied else _storage(tx, caller, source)
    if not run_id and model_id:
        run_id = _logged_model_run(tx, caller, model_id)
    return Source(source, run_id, model_id, storage, root_path(storage) or None, copied.row if copied else 0)


def parse_model_uri(uri: str) -> ModelUri:
    """Take a `models:/` URI apart. Raises Invalid."""
    path = urlparse(uri, allow_fragments=False).path
    parts = path.lstrip("/").split("/")
    if not path.startswith("/") or len(parts) > 2 or not parts[0].strip():
        raise _improper(uri)
    if len(parts) == 2:
        name, suffix = parts
        if not suffix.strip():
            raise _improper(uri)
        if suffix.isdigit():
            return ModelUri(name=name, version=suffix)
        return ModelUri(name=name, stage="" if suffix.lower() == "latest" else suffix)
    if "@" in path:
        name, _, alias = parts[0].rpartition("@")
        if not alias.strip():
            raise _improper(uri)
        return ModelUri(name=name, alias=alias)
    return ModelUri(model_id=parts[0])


def _registered(tx: Tx, caller: Caller, new: NewVersion) -> ModelVersion | None:
    """The version that a source `models:/name/…` names; None for a logged model."""
    source = new.source
    if urlparse(source).netloc:
        raise Invalid(
            f"Invalid model version source: '{source}'. Registered model sources must use the active model registry.",
            path="source",
        )
    parsed = _parsed(source)
    if parsed.model_id:
        return None
    if models.is_prompt(tx, models.find(tx, caller, parsed.name, Role.VIEWER).row):
        raise Invalid(
            f"Invalid model version source: '{source}'. Prompt versions cannot be used as model version sources.",
            path="source",
        )
    found = _version(tx, caller, parsed)
    wrong_run = new.run_id is not None and new.run_id != (found.run_id or "")
    if wrong_run or (new.model_id is not None and new.model_id != (found.model_id or "")):
        raise Invalid(
            f"Invalid model version source: '{source}'. The run_id and model_id request parameters must match the"
            " referenced model version.",
            path="source",
        )
    return found


def _version(tx: Tx, caller: Caller, parsed: ModelUri) -> ModelVersion:
    if parsed.version:
        return versions.get(tx, caller, parsed.name, validation.parse_version(parsed.version))
    if parsed.alias:
        return _aliased(tx, caller, parsed)
    stages = [validation.parse_stage(parsed.stage)] if parsed.stage else []
    newest = models.latest(tx, caller, parsed.name, stages)
    if not newest:
        where = f" and stage '{parsed.stage}'" if parsed.stage else ""
        raise NotFound(f"No versions of model with name '{parsed.name}'{where} found", path="source")
    return max(newest, key=lambda each: each.version)


def _aliased(tx: Tx, caller: Caller, parsed: ModelUri) -> ModelVersion:
    try:
        return aliases.lookup(tx, caller, parsed.name, parsed.alias)
    except NotFound as error:
        if error.path != "alias":
            raise
        raise Invalid(error.message, path="source") from error


def _storage(tx: Tx, caller: Caller, source: str) -> str:
    scheme = urlparse(source).scheme
    if scheme == "models":
        return _logged_model_uri(tx, caller, source)
    if scheme == "runs":
        run_id, _, path = urlparse(source).path.lstrip("/").partition("/")
        root = runs.find(tx, caller, run_id).info.artifact_uri
        return f"{root.rstrip('/')}/{path}" if path else root
    return source


def _logged_model_uri(tx: Tx, caller: Caller, source: str) -> str:
    try:
        return logged_models.get(tx, caller, parse_model_uri(source).model_id).artifact_uri
    except NotFound as error:
        raise Invalid(
            f"Unable to fetch model from model URI source artifact location '{source}'.Error: {error.message}",
            path="source",
        ) from error


def _logged_model_run(tx: Tx, caller: Caller, model_id: str) -> str | None:
    return logged_models.get(tx, caller, model_id).source_run_id


def _check_host(source: str) -> None:
    parsed = urlparse(source)
    scheme = parsed.scheme.lower()
    if scheme not in _HOSTED or (scheme == _ARTIFACTS and not parsed.netloc):
        return
    raise Invalid(
        f"'source' cannot use the '{scheme}' scheme: the '{scheme}' scheme addresses a host other than the tracking"
        " server's configured artifact storage, so the server would connect to the host named in the URI.",
        path="source",
    )


def _check_run_source(tx: Tx, caller: Caller, source: str, run_id: str) -> None:
    if _is_local(source):
        root = _run_root(tx, caller, run_id, source) if run_id else ""
        _check_local(source, root, "run_id")
        return
    _check_absolute(source)
    parsed = urlparse(source)
    if parsed.scheme == "runs":
        named = parsed.path.lstrip("/").partition("/")[0]
        if parsed.netloc or not run_id or named != run_id:
            _refuse(source, "run_id")
        _run_root(tx, caller, run_id, source)
    elif parsed.scheme == "models":
        if parsed.netloc or _parsed(source).model_id:
            _refuse(source, "model_id")
    elif parsed.scheme == _ARTIFACTS and not (run_id and _is_within(source, _run_root(tx, caller, run_id, source))):
        _refuse(source, "run_id")


def _check_model_source(tx: Tx, caller: Caller, source: str, model_id: str) -> None:
    if _is_local(source):
        _check_local(source, _model_root(tx, caller, model_id, source), "model_id")
        return
    _check_absolute(source)
    parsed = urlparse(source)
    if parsed.scheme == "models":
        own = _parsed(source).model_id
        if parsed.netloc or (own and own != model_id):
            _refuse(source, "model_id")
    elif parsed.scheme == "runs" or (
        parsed.scheme == _ARTIFACTS and not _is_within(source, _model_root(tx, caller, model_id, source))
    ):
        _refuse(source, "model_id")


def _check_local(source: str, root: str, parameter: str) -> None:
    """Paths of the server's own disk are only taken inside artifacts that are known to lie there."""
    path = posixpath.normpath(unquote(urlparse(source).path))
    if root and _is_local(root):
        folder = posixpath.normpath(unquote(urlparse(root).path))
        if path.startswith("/") and (path == folder or path.startswith(f"{folder.rstrip('/')}/")):
            return
    shown = path if root and path.startswith("/") else source
    raise Invalid(
        f"Invalid model version source: '{shown}'. To use a local path as a model version source, the {parameter}"
        " request parameter has to be specified and the local path has to be contained within the artifact directory"
        f" of the run specified by the {parameter}.",
        path="source",
    )


def _check_absolute(source: str) -> None:
    shown, text = source, source
    while (decoded := unquote_plus(text)) != text:
        text = decoded
    path = re.sub(r"/+", "/", urlparse(text).path.rstrip("/"))
    bad = "\0" in path or ".." in text.split("/") or not path.startswith("/")
    if bad or posixpath.normpath(path) != path:
        raise Invalid(
            f"Invalid model version source: '{shown}'. If supplying a source as an http, https, local file path, ftp,"
            " objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path references"
            " present. Please provide an absolute path.",
            path="source",
        )


def _is_local(uri: str) -> bool:
    parsed = urlparse(uri)
    if parsed.scheme == "file" and parsed.hostname and not parsed.hostname.startswith((".", *_LOCAL_HOSTS)):
        raise Invalid(f"{uri} is not a valid remote uri.", path="source")
    return parsed.scheme in {"", "file"}


def _is_within(source: str, root: str) -> bool:
    scheme, host, parts = _parts(source)
    root_scheme, root_host, root_parts = _parts(root)
    same = (scheme, host) == (root_scheme, root_host)
    return same and bool(root_parts) and parts[: len(root_parts)] == root_parts


def _parts(uri: str) -> tuple[str, str, list[str]]:
    split = urlsplit(uri)
    return split.scheme.lower(), split.netloc.lower(), [_decoded(part) for part in split.path.split("/") if part]


def _decoded(text: str) -> str:
    while (decoded := unquote(text)) != text:
        text = decoded
    return text


def _run_root(tx: Tx, caller: Caller, run_id: str, source: str) -> str:
    try:
        return runs.find(tx, caller, run_id).info.artifact_uri
    except NotFound:
        _refuse(source, "run_id")


def _model_root(tx: Tx, caller: Caller, model_id: str, source: str) -> str:
    try:
        return logged_models.get(tx, caller, model_id).artifact_uri
    except NotFound:
        _refuse(source, "model_id")


def _parsed(source: str) -> ModelUri:
    try:
        return parse_model_uri(source)
    except Invalid:
        _refuse(source, "model_id")


def _refuse(source: str, parameter: str) -> NoReturn:
    raise Invalid(
        f"Invalid model version source: '{source}'. The {parameter} request parameter must identify the resource that"
        " contains the source.",
        path="source",
    )


def _improper(uri: str) -> Invalid:
    return Invalid(
        f"Not a proper models:/ URI: {uri}. Models URIs must be of the form 'models:/name/suffix' or"
        " 'models:/name@alias' where suffix is a version, stage, or the string 'latest' and where alias is a registered"
        " model alias. Only one of suffix or alias can be defined at a time.",
        path="source",
    )
