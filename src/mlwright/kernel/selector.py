"""Label selectors in Kubernetes' grammar: `team=vision,stage in (dev,test),!frozen`."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from mlwright.kernel.errors import Invalid

_KEY = r"[A-Za-z0-9][A-Za-z0-9._/-]*"
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)\Z")
_EQUAL = re.compile(rf"({_KEY})\s*(==|=|!=)\s*([A-Za-z0-9._-]*)\Z")
_EXISTS = re.compile(rf"(!?)\s*({_KEY})\Z")


class Requirement(NamedTuple):
    """One condition. `values` is None for mere presence."""

    key: str
    wanted: bool
    values: frozenset[str] | None

    def met_by(self, labels: Mapping[str, str]) -> bool:
        if self.values is None:
            return (self.key in labels) is self.wanted
        return (labels.get(self.key) in self.values) is self.wanted


def parse(text: str) -> list[Requirement]:
    """The conditions of a selector; none when it is empty. Raises Invalid."""
    return [_requirement(part.strip(), text) for part in re.split(r",(?![^(]*\))", text)] if text.strip() else []


def _requirement(part: str, text: str) -> Requirement:
    if found := _SET.match(part):
        values = frozenset(value.strip() for value in found[3].split(","))
        return Requirement(found[1], found[2] == "in", values)
    if found := _EQUAL.match(part):
        return Requirement(found[1], found[2] != "!=", frozenset({found[3]}))
    if found := _EXISTS.match(part):
        return Requirement(found[2], not found[1], None)
    raise Invalid(
        f"{part!r} in the selector {text!r} is not a condition",
        path="selector",
        hint="use key=value, key!=value, key in (a,b), key notin (a,b), key or !key, joined by commas",
    )


def matches(requirements: list[Requirement], labels: Mapping[str, str]) -> bool:
    """Whether labels meet all conditions; a missing label meets != and notin, as in Kubernetes."""
    return all(each.met_by(labels) for each in requirements)
