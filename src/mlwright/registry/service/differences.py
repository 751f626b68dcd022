"""How two versions differ, aspect by aspect. Versions may be of different models, and of different projects."""

import re
from collections.abc import Callable, Mapping, Sequence

from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.registry.described import Aspect, Change, ChangeKind, Difference, VersionName
from mlwright.registry.service.known import REQUIREMENTS, Known, known
from mlwright.tracking.spec import Metric

#: By name, what there is on one side; None when nothing is known.
Side = Mapping[str, object] | None

_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*((?:\[[^\]]*\])?\s*[=<>!~].*)?\Z")


def between(tx: Tx, caller: Caller, left: tuple[str, int, str], right: tuple[str, int, str]) -> Difference:
    """How two versions differ; each is named by model, number and project ("" is the caller's own). Raises NotFound."""
    return compare(known(tx, caller, *left), known(tx, caller, *right))


def compare(left: Known, right: Known) -> Difference:
    """How the right version differs from the left one."""
    digests = left.version.digest, right.version.digest
    identical = None if None in digests else digests[0] == digests[1]
    aspects = [aspect(name, side(left), side(right)) for name, side in _SIDES.items()]
    return Difference(_name(left), _name(right), identical, aspects)


def aspect(name: str, left: Side, right: Side) -> Aspect:
    """What was added, removed and changed between two sides."""
    unknown = [place for place, side in (("left", left), ("right", right)) if side is None]
    if left is None or right is None:
        return Aspect(name, 0, [], unknown)
    both = sorted(left.keys() | right.keys())
    changes = [
        _change(key, left, right) for key in both if key not in left or key not in right or left[key] != right[key]
    ]
    return Aspect(name, len(both) - len(changes), changes)


def _change(key: str, left: Mapping[str, object], right: Mapping[str, object]) -> Change:
    if key not in left:
        return Change(key, ChangeKind.ADDED, None, right[key])
    if key not in right:
        return Change(key, ChangeKind.REMOVED, left[key], None)
    return Change(key, ChangeKind.CHANGED, left[key], right[key])


def _name(side: Known) -> VersionName:
    version = side.version
    return VersionName(version.project, version.name, version.version, version.digest)


def metric_value(metric: Metric) -> float | str:
    """The value as JSON can say it, and equal to itself."""
    return metric.value if metric.value == metric.value else "NaN"


def _metrics(side: Known) -> Side:
    if side.metrics is None:
        return None
    return {_metric_name(each): metric_value(each) for each in side.metrics}


def _metric_name(metric: Metric) -> str:
    return f"{metric.key} ({metric.dataset_name})" if metric.dataset_name else metric.key


def _parameters(side: Known) -> Side:
    return None if side.parameters is None else {each.key: each.value for each in side.parameters}


def _signature(side: Known) -> Side:
    signature = side.version.facts.signature
    if signature is None:
        return None
    found: dict[str, object] = {}
    for part, columns in signature.items():
        if not isinstance(columns, list):
            found |= {part: columns} if columns is not None else {}
            continue
        found |= {_column_name(part, place, each): _column_type(each) for place, each in enumerate(columns)}
    return found


def _column_name(part: str, place: int, column: object) -> str:
    name = column.get("name") if isinstance(column, dict) else None
    return f"{part}.{place if name is None else name}"


def _column_type(column: object) -> object:
    if not isinstance(column, dict):
        return column
    rest = {key: value for key, value in column.items() if key != "name"}
    return rest["type"] if set(rest) == {"type"} else rest


def _data(side: Known) -> Side:
    """A name can stand for several digests."""
    if side.version.facts.datasets is None:
        return None
    found: dict[str, object] = {}
    for each in sorted(side.version.facts.datasets, key=lambda each: each.digest):
        name = f"{each.name} ({each.context})" if each.context else each.name
        found[name] = f"{found[name]}, {each.digest}" if name in found else each.digest
    return found


def _code(side: Known) -> Side:
    code = side.version.facts.code
    if code is None:
        return None
    found = {"commit": code.commit, "repository": code.repository, "source": code.source}
    return {name: value for name, value in found.items() if value is not None}


def _environment(side: Known) -> Side:
    """Versions of Python, of the model's libraries and of required packages, else digests of files that say so."""
    facts = side.version.facts
    if facts.python is None and facts.flavors is None and facts.environment is None:
        return None
    found: dict[str, object] = {"python": facts.python} if facts.python else {}
    found |= {f"flavor {name}": version or "" for name, version in (facts.flavors or {}).items()}
    packages = required_packages(side)
    found |= {f"package {name}": version for name, version in (packages or {}).items()}
    files = [each for each in facts.environment or () if packages is None or each.path != REQUIREMENTS]
    return found | {each.path: each.digest for each in files}


def required_packages(side: Known) -> dict[str, str] | None:
    """The lines of requirements.txt by package; None when it is not there, or too large to be at hand."""
    content = next((file.content for file in side.files or () if file.path == REQUIREMENTS), None)
    return None if content is None else packages(content.decode(errors="replace"))


def packages(requirements: str) -> dict[str, str]:
    """What each line asks for, by the package's normal name (PEP 503). What names no package stands for itself."""
    found: dict[str, str] = {}
    for line in requirements.splitlines():
        text = line.partition(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        match = _PINNED.match(text)
        if match is None:
            found[text] = ""
        else:
            found[re.sub(r"[-_.]+", "-", match[1]).lower()] = (match[2] or "").strip()
    return found


def _files(side: Known) -> Side:
    return None if side.files is None else {file.path: file.digest for file in side.files}


_SIDES: Mapping[str, Callable[[Known], Side]] = {
    "metrics": _metrics,
    "parameters": _parameters,
    "signature": _signature,
    "data": _data,
    "code": _code,
    "environment": _environment,
    "files": _files,
}
#: The aspects that are compared, in their order.
ASPECTS: Sequence[str] = tuple(_SIDES)
