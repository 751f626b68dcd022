"""Texts that loaders act upon: JSON of Keras and skops, YAML, MLflow's description of a model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import yaml

from mlwright.security.scanning.keras import is_keras, scan_config
from mlwright.security.scanning.limits import MEBI, RefusedError
from mlwright.security.scanning.looking import Looker
from mlwright.security.scanning.skops import is_skops, scan_schema
from mlwright.security.scanning.sniff import begins_json
from mlwright.security.scanning.streams import Source, Stream

_MAX_JSON = 16 * MEBI
_MAX_MLMODEL = 1 * MEBI
_OVERLAP = 256

#: Without one of these a text holds no tag that makes Python objects. The last one begins escapes in hexadecimal.
_YAML_HINTS = (b"!!python/", b",2002:python/", b"%")
_YAML_PYTHON = re.compile(
    rb"!!python/[\w./:-]+|tag:yaml\.org,2002:python/[\w./:-]*|^%TAG\s.*"
    rb"|(?<![^\s\[{,])!(?:[\w-]*!|<)[^\s>]*%[0-9A-Fa-f]{2}[^\s>]*",
    re.MULTILINE,
)
_MLMODEL = re.compile(rb"(?m)^[\"']?flavors[\"']?\s*:")
#: What a JSON text too large to be parsed must not contain.
_JSON_CODE = re.compile(rb'"(?:class_name|__class__|registered_name)"')
_JSON_LARGE = re.compile(rb'"(?:class_name|__class__|registered_name)"|\\u00[2-7]')
#: The loaders of MLflow itself. Each reads files beside the description, which are scanned too.
_LOADERS = frozenset(
    f"mlflow.{name}"
    for name in """catboost diviner fastai h2o keras langchain lightgbm llama_index onnx paddle pmdarima prophet
    pyfunc.model pyfunc.loaders.code_model pyfunc.loaders.chat_model pyfunc.loaders.responses_agent pytorch
    sentence_transformers shap sklearn spacy spark statsmodels tensorflow transformers xgboost""".split()
)
_CODE_KEYS = ("code", "code_path", "model_code_path")
#: What a path must not begin with, or have among its parts, to stay within the model's folder.
_OUTSIDE = re.compile(r"^[/\\~]|^[A-Za-z]:[/\\]|^file:|(?:^|[/\\])\.\.(?:[/\\]|$)")


def scan_text(looker: Looker, source: Source, member: str, depth: int) -> None:
    """Search a text of any length for what a YAML loader would make objects of, and read MLflow's descriptions.

    JSON may come behind any white space.
    """
    beginning = _search_tags(looker, source, member)
    if not beginning.strip() and len(beginning) == _MAX_MLMODEL:
        raise RefusedError("format-malformed", "the text begins with more white space than anybody would write")
    if begins_json(beginning):
        _scan_objects(looker, source, member)
    if _MLMODEL.search(beginning) or _is_mlmodel(looker, member):
        _scan_mlmodel(looker, beginning, member)


def _search_tags(looker: Looker, source: Source, member: str) -> bytes:
    """Note tags of YAML that make Python objects; returns how the text begins."""
    with source.open() as stream:
        beginning = stream.peek(_MAX_MLMODEL)
        before = b""
        for piece in stream.chunks():
            window = before + piece
            target = _yaml_code(window)
            if target:
                looker.note("yaml-code", f"the text makes an object by {target}", member=member, target=target)
                break
            before = window[-_OVERLAP:]
    return beginning


def _is_mlmodel(looker: Looker, member: str) -> bool:
    """MLflow finds the description of a model by its name, and by nothing else."""
    return (member.rpartition("!")[2].rpartition("/")[2] or looker.name) == "MLmodel"


def _yaml_code(window: bytes) -> str:
    """The first tag that makes Python objects, unless its line is a comment; empty when there is none."""
    if (b"!" not in window and b"%TAG" not in window) or not any(hint in window for hint in _YAML_HINTS):
        return ""
    for found in _YAML_PYTHON.finditer(window):
        line = window[window.rfind(b"\n", 0, found.start()) + 1 : found.start()]
        if not line.lstrip().startswith(b"#"):
            return found[0][:_OVERLAP].decode("utf-8", "replace")
    return ""


def _search(stream: Stream, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
    """The first match in all that is left; matches are short."""
    before = b""
    for piece in stream.chunks():
        window = before + piece
        found = pattern.search(window)
        if found is not None:
            return found
        before = window[-_OVERLAP:]
    return None


def _scan_mlmodel(looker: Looker, text: bytes, member: str) -> None:
    """MLflow imports the `loader_module`, after it has put the folder `code` on the path."""
    if len(text) >= _MAX_MLMODEL:
        raise RefusedError("format-malformed", "the description of an MLflow model is too long")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise RefusedError("format-malformed", "the description of an MLflow model repeats parts of itself")
        described = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RefusedError("format-malformed", "the description of an MLflow model cannot be read") from error
    flavors = described.get("flavors") if isinstance(described, dict) else None
    for name, flavor in flavors.items() if isinstance(flavors, dict) else ():
        if not isinstance(flavor, dict):
            continue
        loader = flavor.get("loader_module")
        if loader is not None and (not isinstance(loader, str) or loader not in _LOADERS):
            named = str(loader)[:_OVERLAP]
            message = f"the flavor {name} is loaded by {named}, which is not part of MLflow"
            looker.note("mlflow-code", message, member=member, target=named)
        for key in _CODE_KEYS:
            if flavor.get(key):
                message = f"the flavor {name} brings code in {str(flavor[key])[:_OVERLAP]!r}"
                looker.note("mlflow-code", message, member=member, target=f"{name}.{key}")
        for path in _outside(flavor, frozenset(_CODE_KEYS)):
            message = f"the flavor {name} is loaded from {path[:_OVERLAP]!r}, outside of the model's folder"
            looker.note("mlflow-outside", message, member=member, target=path[:_OVERLAP])


def _outside(value: object, told: frozenset[str]) -> Iterator[str]:
    """Paths in the options of a flavor that lead out of the model's folder: what lies there has not been scanned.

    Where something came from is not loaded: the `uri` of an artifact, and the names of what is in `model_binary`.

    Args:
        told: keys that are not looked at.
    """
    if isinstance(value, str):
        if _OUTSIDE.search(value):
            yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            is_origin = key == "uri" or (str(key).endswith("_name") and "model_binary" in value)
            if key not in told and not (is_origin and isinstance(inner, str)):
                yield from _outside(inner, told)
    elif isinstance(value, list):
        for inner in value:
            yield from _outside(inner, told)


def scan_json(looker: Looker, source: Source, member: str, depth: int) -> None:
    """JSON is data, unless Keras or skops build objects from it."""
    if _is_mlmodel(looker, member) or not _scan_objects(looker, source, member):
        scan_text(looker, source, member, depth)


def _scan_objects(looker: Looker, source: Source, member: str) -> bool:
    """Check what Keras or skops would build; False for what only begins like JSON."""
    with source.open() as stream:
        text = stream.peek(_MAX_JSON + 1)
        if len(text) > _MAX_JSON:
            if _search(stream, _JSON_LARGE) is not None:
                raise RefusedError("format-malformed", "a description of objects in JSON is too long to be checked")
            return True
    if not _JSON_CODE.search(text) and b"\\u" not in text:
        return True  # whatever else it is, no key of Keras or skops stands in it
    try:
        # As Keras and skops read it: of a key that is there twice, the last one counts.
        document = json.loads(text)
    except RecursionError:
        raise RefusedError("format-malformed", "JSON is nested too deeply") from None
    except ValueError:
        return False
    if is_skops(document):
        scan_schema(looker, document, member)
    elif is_keras(document):
        scan_config(looker, document, member)
    return True
