"""Compares two logged models by what they predict, in the environment that both were made in."""

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from mlwright.compute import service as compute
from mlwright.compute.spec import Environment, Limits
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Invalid
from mlwright.reproduction import predict_host, tolerances
from mlwright.reproduction.comparing import Models
from mlwright.reproduction.spec import Likeness, Tolerance

_LIMITS = Limits(seconds=120.0, memory_bytes=8 << 30, processes=512)
#: Larger models are not loaded twice just to see.
_MOST_BYTES = 1 << 30
_HOST = Path(predict_host.__file__)


class Asking:
    """Asks models.

    Args:
        scratch: where their files are put.
        variables: the environment of their process.
    """

    def __init__(
        self,
        client: Client,
        environment: Environment,
        scratch: Path,
        variables: Mapping[str, str],
        tolerance: Tolerance,
    ) -> None:
        self._client = client
        self._environment = environment
        self._scratch = scratch
        self._variables = variables
        self._tolerance = tolerance
        self._numbers = itertools.count()

    def __call__(self, models: Models) -> tuple[Likeness | None, str]:
        """How their predictions compare, and on what; None and why they were not asked."""
        if not any(each.startswith(("mlflow==", "mlflow_skinny==")) for each in self._environment.packages):
            return None, "the environment has no MLflow to load it with"
        room = self._scratch / f"models-{next(self._numbers)}"
        folders = [room / "before", room / "after"]
        for model_id, folder in zip(models[1:], folders, strict=True):
            problem = self._fetch(model_id, folder)
            if problem:
                return None, problem
        answer = room / "answer.json"
        request = room / "request.json"
        request.write_text(json.dumps({"models": [str(each) for each in folders], "answer": str(answer)}))
        command = [str(self._environment.interpreter), str(_HOST), str(request)]
        outcome = compute.run(command, room, self._variables, _LIMITS)
        if not outcome.succeeded or not answer.exists():
            return None, outcome.explain(_LIMITS)
        found = json.loads(answer.read_text())
        if "problem" in found:
            return None, str(found["problem"])[:300]
        before, after = found["predictions"]
        return compare(before, after, self._tolerance), "compared by its predictions for the input example"

    def _fetch(self, model_id: str, folder: Path) -> str:
        """Put a model's files into a folder. Returns why that is not done."""
        root = f"/v1/logged-models/{quote(model_id, safe='')}/artifacts"
        listed = self._client.get(root, all="true")
        if sum(each["size"] for each in listed) > _MOST_BYTES:
            return f"it is larger than {_MOST_BYTES >> 30} GiB"
        for each in listed:
            path = PurePosixPath(each["path"])
            if path.is_absolute() or ".." in path.parts:
                raise Invalid(f"the server names a file {each['path']!r}", path="path")
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                for piece in self._client.download(f"{root}/{quote(each['path'])}"):
                    file.write(piece)
        return ""


def compare(before: Any, after: Any, tolerance: Tolerance) -> Likeness:
    """Two answers of the same shape: the worst of all their values counts."""
    worst = Likeness.SAME
    for one, other in _pairs(before, after):
        if _is_number(one) and _is_number(other):
            likeness = tolerances.compare(float(one), float(other), tolerance)
        else:
            likeness = Likeness.SAME if type(one) is type(other) and one == other else Likeness.DIFFERS
        if likeness is Likeness.DIFFERS:
            return likeness
        worst = likeness if likeness is Likeness.WITHIN else worst
    return worst


def _pairs(before: Any, after: Any) -> Iterator[tuple[Any, Any]]:
    """The values at the same places; where the shapes differ, the two parts themselves."""
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for pair in zip(before, after, strict=True):
            yield from _pairs(*pair)
    elif isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        for name in before:
            yield from _pairs(before[name], after[name])
    else:
        yield before, after


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
