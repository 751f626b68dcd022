"""Charts of endpoints as plain data for SVG: lines in a box of fixed size, without scripts or styles."""

import math
from collections.abc import Mapping, Sequence

import msgspec

from mlwright.serving.service.minutes import EndpointMinute
from mlwright.serving.service.reading import JudgedLook

WIDTH, HEIGHT = 320, 90
_MINUTE_MS = 60_000
#: E-values beyond are all the same to people.
_MOST_E = 1e6


class Line(msgspec.Struct, frozen=True):
    """A line of a chart. `points`: as SVG's polyline has them; `kind`: its number among the colours."""

    name: str
    points: str
    kind: int
    last: float


class Chart(msgspec.Struct, frozen=True):
    """Some lines under one title. `top`: the largest value; `marks`: heights that decide, with their names."""

    title: str
    unit: str
    lines: list[Line]
    top: float
    marks: list[tuple[float, str]] = []
    width: int = WIDTH
    height: int = HEIGHT


def by_minute(
    minutes: Sequence[EndpointMinute], now_ms: int, span_minutes: int, names: Mapping[int, str]
) -> list[Chart]:
    """Requests, errors and latency of each revision over the last minutes.

    Args:
        names: of revisions, by number.
    """
    since_ms = now_ms - span_minutes * _MINUTE_MS
    numbers = sorted({each.revision for each in minutes})
    of = {number: [each for each in minutes if each.revision == number] for number in numbers}

    def chart(title: str, unit: str, value: str) -> Chart:
        values = {
            number: [((each.at_ms - since_ms) / _MINUTE_MS, _value(each, value)) for each in of[number]]
            for number in numbers
        }
        top = max((each for series in values.values() for _, each in series), default=0.0)
        lines = [
            Line(
                names.get(number, str(number)),
                _points(values[number], span_minutes, top),
                place % 6,
                values[number][-1][1],
            )
            for place, number in enumerate(numbers)
        ]
        return Chart(title, unit, lines, top)

    return [
        chart("Requests", "/s", "rate"),
        chart("Errors", "%", "errors"),
        chart("Latency, median", "ms", "p50"),
        chart("Latency, 99th percentile", "ms", "p99"),
    ]


def _value(each: EndpointMinute, name: str) -> float:
    values = {
        "rate": each.requests / 60,
        "errors": 100 * each.errors / max(each.requests, 1),
        "p50": each.p50_ms,
        "p99": each.p99_ms,
    }
    return values[name]


def evidence(looks: Sequence[JudgedLook]) -> Chart | None:
    """The e-values of a rollout, look by look, on a logarithmic scale; None where there was no look."""
    if not looks:
        return None
    against = [0.0, *(_log(each.judgement.worse) for each in looks)]
    kept = [0.0, *(_log(each.judgement.kept) for each in looks)]
    last = looks[-1].judgement
    top = max(*against, *kept, _log(last.worse_at) * 1.1)
    places = range(len(against))
    lines = [
        Line("for it", _points(list(zip(places, kept, strict=True)), len(looks), top), 0, last.kept),
        Line("against it", _points(list(zip(places, against, strict=True)), len(looks), top), 1, last.worse),
    ]
    marks = [
        (round(HEIGHT - HEIGHT * _log(last.kept_at) / top, 1), "next step"),
        (round(HEIGHT - HEIGHT * _log(last.worse_at) / top, 1), "rollback"),
    ]
    return Chart("Evidence", "log₁₀ e", lines, top, marks)


def _log(e: float) -> float:
    """Zero is an e-value of 1 or less: no evidence."""
    return math.log10(min(max(e, 1.0), _MOST_E))


def _points(values: Sequence[tuple[float, float]], span: float, top: float) -> str:
    """A single point becomes a short line: nothing else of it would be seen."""
    scale = HEIGHT / top if top else 0.0
    places = [(WIDTH * x / span, HEIGHT - y * scale) for x, y in values if 0 <= x <= span]
    if len(places) == 1:
        places.append((places[0][0] + 3, places[0][1]))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
