"""How the files of a version are run: which loader takes them, and what its environment must have."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mlwright.kernel.errors import Invalid
from mlwright.serving.host.takes import takes_of

#: Flavors that are loaded with their own libraries, without MLflow; the first that a version has is taken.
NATIVE = ("sklearn", "skops", "xgboost", "lightgbm", "onnx", "pytorch")
#: Distributions that only save models, by the loader that does without them.
_SPARED = {"mlflow", "mlflow-skinny", "mlflow-tracing"}
_SPARED_BY = {"onnx": {"cloudpickle", "onnx", "onnxmltools", "skl2onnx", "tf2onnx"}}
#: What MLflow brings along for models that were saved so: the format, or the ending of the file.
_BRINGS = {"skops": "skops", "cloudpickle": "cloudpickle"}
_REQUIREMENTS = "requirements.txt"
_DESCRIBING = (
    "MLmodel",
    "conda.yaml",
    "python_env.yaml",
    "constraints.txt",
    "pylock.toml",
    "uv.lock",
    "pyproject.toml",
)
_LOCKED = ("pylock.toml", "uv.lock")


class Running(NamedTuple):
    """How a version is run.

    Attributes:
        loader: "mlflow", or the flavor whose library loads it (`programs/modelworker/loaders.py`).
        options: the flavor's, as MLmodel has them.
        generic: those of `python_function`.
        signature: MLflow's.
        example: the file with an input example, relative to the version's folder; empty when there is none.
    """

    loader: str
    options: dict[str, Any]
    generic: dict[str, Any]
    signature: dict[str, Any]
    example: str


def running(model: Path) -> Running:
    """Read a version's own description. Raises Invalid when it cannot be read, or names nothing that can be run."""
    try:
        document = msgspec.yaml.decode((model / "MLmodel").read_bytes())
    except (OSError, msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise Invalid(
            f"the model's description (MLmodel) cannot be read: {str(error)[:200]}", path="MLmodel"
        ) from error
    described = document if isinstance(document, dict) else {}
    flavors = _mapping(described.get("flavors"))
    generic = _mapping(flavors.get("python_function"))
    loader = next((name for name in NATIVE if name in flavors), "mlflow" if generic else "")
    if not loader:
        raise Invalid("the model has no flavor that can be served", path="MLmodel", hint=f"such as {', '.join(NATIVE)}")
    saved = _mapping(described.get("saved_input_example_info"))
    example = str(saved.get("serving_input_path") or saved.get("artifact_path") or "")
    if not (model / example).is_file() or not (model / example).resolve().is_relative_to(model.resolve()):
        example = ""
    return Running(loader, _mapping(flavors.get(loader)), generic, _signature(described), example)


def needs(model: Path, how: Running, folder: Path) -> Path:
    """What it needs to run, as files from which `Environments` makes one; put into an empty folder if they change.

    A list of packages loses those with which models are only saved: MLflow alone is larger than most models and their
    libraries. What it would have brought is added: the library that reads the file, and pandas, where tables of several
    types come.
    """
    listed = model / _REQUIREMENTS
    has_code = how.options.get("code") or how.generic.get("code")  # of its author's, which may import anything
    is_locked = any((model / name).is_file() for name in _LOCKED)
    if how.loader == "mlflow" or has_code or is_locked or not listed.is_file():
        return model
    spared = _SPARED | _SPARED_BY.get(how.loader, set())
    lines = listed.read_text(encoding="utf-8").splitlines()
    if any(line.lstrip().startswith("-r") for line in lines):
        return model
    kept = [line for line in lines if _name(line) not in spared]
    takes = takes_of(how.signature)
    # PyTorch gets tables as matrices of another precision than that of their columns.
    brought = {"pandas"} if takes.table and (not takes.matrix or how.loader == "pytorch") else set()
    words = {str(value).rpartition(".")[2] for value in how.options.values()}
    brought |= {_BRINGS[word] for word in words & _BRINGS.keys()}
    kept += sorted(brought - set(map(_name, kept)))
    for name in _DESCRIBING:
        if (model / name).is_file():
            (folder / name).write_bytes((model / name).read_bytes())
    (folder / _REQUIREMENTS).write_text("\n".join(kept) + "\n", encoding="utf-8")
    return folder


def _name(line: str) -> str:
    found = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", line)
    return re.sub(r"[-_.]+", "-", found[1]).lower() if found else ""


def _mapping(found: object) -> dict[str, Any]:
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else {}


def _signature(described: Mapping[str, Any]) -> dict[str, Any]:
    """MLflow writes the lists of a signature as JSON in texts."""
    found = {}
    for name, value in _mapping(described.get("signature")).items():
        try:
            found[name] = msgspec.json.decode(value) if isinstance(value, str) else value
        except (msgspec.DecodeError, RecursionError) as error:
            raise Invalid(f"the model's signature cannot be read: {error}", path="MLmodel") from error
    return {name: value for name, value in found.items() if value is not None}
