"""How far metrics may be from the original, and which are not compared because they differ by nature."""

import fnmatch
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from mlwright.kernel.errors import Invalid
from mlwright.reproduction.spec import Likeness, Tolerance

#: What rounding on another machine may change.
DEFAULT = Tolerance(relative=1e-6)
_SYSTEM = "system/"
_TIMES = re.compile(
    r"(?:^|[^a-z])(?:seconds?|secs?|minutes?|hours?|ms|millis|duration|elapsed|latency|runtime|time|timestamp|throughput"
    r"|(?:per|/)_?s(?:ec(?:ond)?)?|samples_per_second|steps_per_second|rps|qps)(?:[^a-z]|$)",
    re.I,
)
_SHAPE = re.compile(r"(?P<name>.+)=(?P<number>[0-9.eE+-]+)(?P<percent>%?)")


class Tolerances(NamedTuple):
    """Which tolerance a metric has.

    Attributes:
        given: patterns of names with what they allow; the last one that fits counts.
        ignored: patterns of names that are not compared.
    """

    given: Sequence[tuple[str, Tolerance]] = ()
    ignored: Sequence[str] = ()

    def of(self, name: str) -> Tolerance | None:
        """What was asked for a metric; None when nothing was."""
        return next((found for pattern, found in reversed(self.given) if fnmatch.fnmatchcase(name, pattern)), None)

    def is_ignored(self, name: str) -> bool:
        """Whether the user wants it apart."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.ignored)


def parse(texts: Sequence[str]) -> list[tuple[str, Tolerance]]:
    """Tolerances as written: `auc=0.01` is absolute, `auc=1%` relative; names may hold `*`. Raises Invalid."""
    found = []
    for text in texts:
        match = _SHAPE.fullmatch(text)
        try:
            number = float(match["number"]) if match else math.nan
        except ValueError:
            number = math.nan
        if match is None or not math.isfinite(number) or number < 0:
            hint = "such as: auc=0.01, loss=1% or '*=0.1%'"
            raise Invalid(f"{text!r} is no tolerance", path="--tolerance", hint=hint)
        relative = bool(match["percent"])
        found.append((match["name"], Tolerance(0.0, number / 100) if relative else Tolerance(number)))
    return found


def by_nature(name: str) -> str:
    """Why a metric differs by nature; empty when it does not."""
    if name.startswith(_SYSTEM):
        return "a system metric"
    return "a time" if _TIMES.search(name) else ""


def compare(before: float, after: float, tolerance: Tolerance) -> Likeness:
    """How a number compares with the original. NaN is like NaN, and infinity like the same infinity."""
    if before == after or (math.isnan(before) and math.isnan(after)):
        return Likeness.SAME
    if not (math.isfinite(before) and math.isfinite(after)):
        return Likeness.DIFFERS
    allowed = max(tolerance.absolute, tolerance.relative * abs(before))
    return Likeness.WITHIN if abs(after - before) <= allowed else Likeness.DIFFERS
