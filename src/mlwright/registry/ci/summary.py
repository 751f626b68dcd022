"""The words at the end of a job, in Markdown: what was trained, what the gates say, where the version is."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlwright.registry.ci.training import Source, Trained
from mlwright.registry.plain import plain

_MOST_METRICS = 30


def markdown(
    version: Mapping[str, Any], trained: Trained, source: Source, gates: str, outcome: str, address: str
) -> str:
    """Args:
    version: as the API has it.
    gates: the report about its gates, in Markdown.
    outcome: what came out of it, in one sentence.
    address: of the server.
    """
    name = f"{version['name']}/{version['version']}"
    link = f"{address}/models/{version['name']}/versions/{version['version']}"
    facts = [
        ("version", f"[{plain(name)}]({link})"),
        ("digest", f"`{version['digest']}`" if version["digest"] else "not pinned"),
        ("run", plain(trained.name or trained.run_id)),
    ]
    if source.commit:
        facts.append(("commit", f"`{plain(source.commit[:12])}`"))
    lines = [f"## {plain(outcome)}", "", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts), ""]
    lines += _table(sorted(trained.metrics.items()))
    return "\n".join([*lines, gates])


def _table(metrics: Sequence[tuple[str, float]]) -> list[str]:
    if not metrics:
        return []
    shown = [f"| {plain(name)} | {number(value)} |" for name, value in metrics[:_MOST_METRICS]]
    more = len(metrics) - len(shown)
    return ["| metric | value |", "|---|---|", *shown, *([f"| and {more} more | |"] if more else []), ""]


def number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else str(value)
