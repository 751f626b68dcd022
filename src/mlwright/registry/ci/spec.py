"""What `mlwright ci run` is to do: the words of the file mlwright-ci.yaml."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec

from mlwright.kernel.errors import Invalid
from mlwright.registry import validation

FILE = "mlwright-ci.yaml"
_MAX_BYTES = 1 << 20


class Mode(StrEnum):
    """Which value of a metric is the best."""

    MAX = "max"
    MIN = "min"


class _Spec(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    pass


class Select(_Spec, frozen=True):
    """Of several runs, that with the best value of a metric."""

    metric: str
    mode: Mode = Mode.MAX


class CiSpec(_Spec, frozen=True):
    """What is trained, registered and asked.

    Attributes:
        model: name of the registered model; created when there is none.
        train: a program that logs runs and a model with MLflow, and its arguments.
        experiment: name of the experiment for programs that set none.
        artifact: name of the logged model, or its folder among the run's artifacts.
        select: which run, when the program logs several; otherwise the newest that has the model.
        policy: only the gates of this policy decide; all when empty.
        alias: leads to the version when all gates are passed.
        seconds: how long training may take.
    """

    model: str
    train: Annotated[list[str], msgspec.Meta(min_length=1)]
    experiment: str = ""
    artifact: str = "model"
    select: Select | None = None
    policy: str = ""
    alias: str = ""
    seconds: Annotated[float, msgspec.Meta(gt=0)] = 3_600.0


def read(path: Path) -> CiSpec:
    """Raises Invalid with what is wrong, and where."""
    try:
        with path.open("rb") as file:
            found = msgspec.yaml.decode(file.read(_MAX_BYTES), type=CiSpec)
    except OSError as error:
        hint = "mlwright ci init github (or gitlab) writes one"
        raise Invalid(f"{path} cannot be read: {error.strerror}", path=str(path), hint=hint) from error
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        hint = f"its fields are {', '.join(CiSpec.__struct_encode_fields__)}"
        raise Invalid(f"{path}: {error}", path=str(path), hint=hint) from error
    validation.check_model_name(found.model)
    if found.alias:
        validation.check_alias(found.alias)
    return found
