"""A run beside its reproduction: status, data, parameters, metrics, artifacts and models."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from mlwright.kernel.client import Client
from mlwright.reproduction import spec, tolerances
from mlwright.reproduction.execution import fetch_from
from mlwright.reproduction.spec import Likened, Likeness, Tolerance
from mlwright.reproduction.tolerances import Tolerances

_OURS = (f"{spec.FOLDER}/", f"{spec.REPORTS}/")
_TIME = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")
#: Lines of a model's description that are about this very file.
_OF_MODEL = re.compile(rb"(?m)^(?:model_uuid|model_id|run_id|utc_time_created|artifact_path|model_size_bytes):.*$")
_MOST_BYTES = 4 << 20


class Pair(NamedTuple):
    """The original and its reproduction, as the API has them.

    Attributes:
        folder: where the reproduction ran.
    """

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    folder: str = ""


class Models(NamedTuple):
    """The logged models of the same name of both runs, by their ids."""

    name: str
    before: str
    after: str


#: Asks two models for predictions: how they compare, or None and why that was not possible.
Predict = Callable[[Models], tuple[Likeness | None, str]]


def compare(client: Client, pair: Pair, allowed: Tolerances, *, history: bool, predict: Predict) -> list[Likened]:
    """Every comparison. Asks the server for files and histories; blocks.

    Args:
        history: whether each step of metrics is compared, too.
        predict: compares models whose files differ.
    """
    found = [_texts("status", "status", pair.before["status"], pair.after["status"])]
    found += _datasets(pair)
    found += _params(pair)
    found += metrics(pair.before["metrics"], pair.after["metrics"], allowed)
    if history:
        found += _histories(client, pair, allowed)
    found += _artifacts(client, pair, allowed)
    found += _models(client, pair, allowed, predict)
    return found


def metrics(before: Mapping[str, Any], after: Mapping[str, Any], allowed: Tolerances) -> list[Likened]:
    """The latest values."""
    return [
        _metric(name, _value(before.get(name)), _value(after.get(name)), allowed) for name in sorted({*before, *after})
    ]


def _metric(name: str, before: float | None, after: float | None, allowed: Tolerances) -> Likened:
    asked = allowed.of(name)
    nature = "left out on request" if allowed.is_ignored(name) else "" if asked else tolerances.by_nature(name)
    if nature:
        return Likened("metric", name, before, after, Likeness.APART, nature)
    if before is None or after is None:
        return Likened("metric", name, before, after, Likeness.DIFFERS, _absent(before))
    tolerance = asked or tolerances.DEFAULT
    likeness = tolerances.compare(before, after, tolerance)
    return Likened("metric", name, before, after, likeness, "" if likeness is Likeness.SAME else _allows(tolerance))


def _allows(tolerance: Tolerance) -> str:
    if tolerance.relative:
        return f"{tolerance.relative * 100:g} % is allowed"
    return f"{tolerance.absolute:g} is allowed"


def _value(found: Mapping[str, Any] | None) -> float | None:
    return None if found is None else float(found["value"])


def _absent(before: object) -> str:
    return "not there in the original" if before is None else "not there in the reproduction"


def _texts(kind: str, name: str, before: str | None, after: str | None, note: str = "") -> Likened:
    likeness = Likeness.SAME if before == after else Likeness.DIFFERS
    absent = _absent(before) if before is None or after is None else note
    return Likened(kind, name, before, after, likeness, absent if likeness is Likeness.DIFFERS else "")


def _datasets(pair: Pair) -> list[Likened]:
    def named(run: Mapping[str, Any]) -> dict[str, str]:
        return {each["dataset"]["name"]: each["dataset"]["digest"] for each in run["inputs"]}

    before, after = named(pair.before), named(pair.after)
    return [_texts("dataset", name, before.get(name), after.get(name)) for name in sorted({*before, *after})]


def _params(pair: Pair) -> list[Likened]:
    found = []
    before, after = pair.before["params"], pair.after["params"]
    for name in sorted({*before, *after}):
        likened = _texts("param", name, before.get(name), after.get(name))
        if likened.likeness is Likeness.DIFFERS and pair.folder and pair.folder in str(likened.after):
            likened = Likened("param", name, likened.before, likened.after, Likeness.APART, "a path where it ran")
        found.append(likened)
    return found


# --- histories ------------------------------------------------------------------------------------------------


def _histories(client: Client, pair: Pair, allowed: Tolerances) -> list[Likened]:
    before, after = (_series(client, run["run_id"]) for run in (pair.before, pair.after))
    return [
        _history(name, before[name], after[name], allowed)
        for name in sorted(before.keys() & after.keys())
        if allowed.of(name) or not (tolerances.by_nature(name) or allowed.is_ignored(name))
    ]


def _series(client: Client, run_id: str) -> dict[str, list[tuple[int, float]]]:
    found = client.get(f"/v1/runs/{run_id}/series")
    return {
        each["key"]: [(step, float(value)) for step, value in zip(each["steps"], each["values"], strict=True)]
        for each in found
    }


def _history(
    name: str, before: Sequence[tuple[int, float]], after: Sequence[tuple[int, float]], allowed: Tolerances
) -> Likened:
    """Two histories, point by point: the worst of all points counts, and the first that differs is told."""
    shown = (f"{len(before)} points", f"{len(after)} points")
    if [step for step, _ in before] != [step for step, _ in after]:
        return Likened("history", name, *shown, Likeness.DIFFERS, "the steps are others")
    tolerance = allowed.of(name) or tolerances.DEFAULT
    found = [
        (step, tolerances.compare(old, new, tolerance)) for (step, old), (_, new) in zip(before, after, strict=True)
    ]
    wrong = [step for step, likeness in found if likeness is Likeness.DIFFERS]
    if wrong:
        return Likened(
            "history", name, *shown, Likeness.DIFFERS, f"{len(wrong)} points differ, the first at step {wrong[0]}"
        )
    near = any(likeness is Likeness.WITHIN for _, likeness in found)
    return Likened("history", name, *shown, Likeness.WITHIN if near else Likeness.SAME)


# --- files ----------------------------------------------------------------------------------------------------

#: A file as the API lists it; None where there is none.
Listed = Mapping[str, Any] | None
#: Reads both files of a path.
Read = Callable[[str], tuple[bytes, bytes]]


def _artifacts(client: Client, pair: Pair, allowed: Tolerances) -> list[Likened]:
    folders = [f"/v1/runs/{run['run_id']}/artifacts" for run in (pair.before, pair.after)]
    found = _files(client, "artifact", folders, allowed, _names(pair))
    return [each for each in found if not each.name.startswith(_OURS)]


def _files(
    client: Client, kind: str, folders: Sequence[str], allowed: Tolerances, names: Sequence[str]
) -> list[Likened]:
    """The files in two folders of the API."""
    before, after = ({each["path"]: each for each in client.get(folder, all="true")} for folder in folders)

    def read(path: str) -> tuple[bytes, bytes]:
        one, other = (fetch_from(client, f"{folder}/{quote(path)}") or b"" for folder in folders)
        return one, other

    paths = sorted({*before, *after})
    return [_file(kind, path, (before.get(path), after.get(path)), allowed, read, names) for path in paths]


def _file(
    kind: str, path: str, listed: tuple[Listed, Listed], allowed: Tolerances, read: Read, names: Sequence[str]
) -> Likened:
    """Two files, by digest; small ones also without what is never the same twice."""
    before, after = listed
    one, other = (None if each is None else str(each["digest"]) for each in listed)
    likened = _texts(kind, path, one, other, "the contents differ")
    if likened.likeness is Likeness.SAME:
        return likened
    if allowed.is_ignored(path):
        return Likened(kind, path, one, other, Likeness.APART, "left out on request")
    if before and after and max(before["size"], after["size"]) <= _MOST_BYTES:
        contents = [neutral(content, names) for content in read(path)]
        if contents[0] == contents[1]:
            return Likened(kind, path, one, other, Likeness.APART, "only times and names of runs differ")
    return likened


def neutral(content: bytes, names: Iterable[str]) -> bytes:
    """A text without its times, and without the names of runs, models and folders that are given."""
    if b"\0" in content[:8192]:
        return content
    for name in names:
        if name:
            content = content.replace(name.encode(), b"*")
    return _OF_MODEL.sub(b"", _TIME.sub(b"*", content))


def _names(pair: Pair) -> list[str]:
    found = [pair.folder]
    for run in (pair.before, pair.after):
        found += [run["run_id"], *(each["model_id"] for each in run["model_outputs"])]
    return found


# --- models ---------------------------------------------------------------------------------------------------


def _models(client: Client, pair: Pair, allowed: Tolerances, predict: Predict) -> list[Likened]:
    before, after = (_named_models(client, run) for run in (pair.before, pair.after))
    found = []
    for name in sorted({*before, *after}):
        if name in before and name in after:
            found.append(_model(client, pair, Models(name, before[name], after[name]), allowed, predict))
        else:
            found.append(_texts("model", name, before.get(name), after.get(name)))
    return found


def _named_models(client: Client, run: Mapping[str, Any]) -> dict[str, str]:
    """The ids of the logged models of a run by name; the last of each name."""
    ids = [each["model_id"] for each in run["model_outputs"]]
    return {client.get(f"/v1/logged-models/{quote(each, safe='')}")["name"]: each for each in ids}


def _model(client: Client, pair: Pair, models: Models, allowed: Tolerances, predict: Predict) -> Likened:
    """By its files; where they differ by what it predicts for its input example, if that is possible."""
    if allowed.is_ignored(models.name):
        return Likened("model", models.name, models.before, models.after, Likeness.APART, "left out on request")
    folders = [f"/v1/logged-models/{each}/artifacts" for each in models[1:]]
    files = _files(client, "file", folders, allowed, _names(pair))
    wrong = [each.name for each in files if each.likeness is Likeness.DIFFERS]
    if not wrong:
        return Likened("model", models.name, models.before, models.after, Likeness.SAME, "the same files")
    likeness, note = predict(models)
    if likeness is None:
        note = f"compared by its files, because {note}: {', '.join(wrong[:3])}"
    else:
        note = f"{note}; other bytes in {', '.join(wrong[:3])}"
    return Likened("model", models.name, models.before, models.after, likeness or Likeness.DIFFERS, note)
