"""Figures as rows: a table for people, JSON for machines, and `RESULTS.md` with the last of each row."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

HERE = Path(__file__).parent
STORE = HERE / "results.json"
RESULTS = HERE / "RESULTS.md"
INTRODUCTION = """# Results

The last measurement of each row. Both servers ran on the same machine and were measured in turn; each figure
is a median. Ratios above 1 are in mlwright's favour. Again: `make bench`.

- While one server is measured, all processes of the other are paused: an MLflow server without work still takes a
  good part of a core.
- Both keep their byte code, and each is started once uncounted before its starts are timed.
- Of serving, each server has one core, and the load (wrk) another. All answer the same model; mlwright checks, counts
  and logs each request meanwhile, in processes that share the core.
- Where the real client is the load, it has a limit of its own: what it reaches beside a server that does nothing,
  measured in the same run. Nobody can be faster with it, so {share:.0%} of it counts as met too, whatever the ratio.
"""
#: From this share of the client's own limit on, a required ratio counts as met.
MIN_SHARE = 0.9
HEAD = ("work", "mlflow", "mlwright", "ratio", "must", "met")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One measured figure. `peer` is None for what only mlwright does; `better` says which direction wins.

    `limit` is what the real client reaches beside a server that does nothing, in the same unit; it may stand in for
    a ratio that cannot be reached with that client.
    """

    name: str
    label: str
    unit: str
    peer: float | None
    ours: float | None
    must: str
    better: str = "higher"
    min_ratio: float | None = None
    min_value: float | None = None
    max_value: float | None = None
    limit: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer, above 1 in our favour."""
        if not self.peer or not self.ours:
            return None
        return self.ours / self.peer if self.better == "higher" else self.peer / self.ours

    @property
    def share(self) -> float | None:
        """Our part of the client's own limit; None where there is none."""
        return self.ours / self.limit if self.ours is not None and self.limit else None

    @property
    def met(self) -> bool | None:
        """Whether every stated bound holds; None without our figure or without a bound that can be judged."""
        if self.ours is None:
            return None
        checks: list[bool] = []
        if self.min_ratio is not None and self.ratio is not None:
            checks.append(self.ratio >= self.min_ratio or (self.share or 0) >= MIN_SHARE)
        if self.min_value is not None:
            checks.append(self.ours >= self.min_value)
        if self.max_value is not None:
            checks.append(self.ours <= self.max_value)
        return all(checks) if checks else None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where and with what a row was measured. `load` is the load average of the last minute before the run."""

    date: str
    hardware: str
    python: str
    versions: dict[str, str]
    load: float = 0.0


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    row: Row
    machine: Machine


def machine(versions: dict[str, str]) -> Machine:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        hardware=f"{os.cpu_count()} cores {model}, {memory_gib:.0f} GiB, Linux {platform.release()}",
        python=platform.python_version(),
        versions=versions,
        load=round(os.getloadavg()[0], 1),
    )


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits, thousands separated; a dash for None."""
    if value is None:
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def cells(row: Row) -> tuple[str, ...]:
    met = {True: "yes", False: "**no**", None: "–"}[row.met]
    ratio = "–" if row.ratio is None else f"{number(row.ratio)}×"
    must, notes = row.must, [row.note] if row.note else []
    if row.share is not None:
        notes.append(f"the client's own limit: {number(row.limit, row.unit)}")
        ratio += f", {row.share:.0%} of the limit"
        must += f", or {MIN_SHARE:.0%} of the limit"
    label = f"{row.label} ({'; '.join(notes)})" if notes else row.label
    return (label, number(row.peer, row.unit), number(row.ours, row.unit), ratio, must, met)


def table(rows: Iterable[Row]) -> str:
    """A Markdown table of the rows."""
    lines = [HEAD, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    text = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def load_entries(store: Path = STORE) -> dict[str, Entry]:
    if not store.exists():
        return {}
    return msgspec.json.decode(store.read_bytes(), type=dict[str, Entry])


def save(rows: Iterable[Row], where: Machine, store: Path = STORE, results: Path = RESULTS) -> None:
    """Replace the stored entry of each row and write `RESULTS.md` again from all that is stored."""
    entries = load_entries(store)
    entries.update({row.name: Entry(row=row, machine=where) for row in rows})
    store.write_bytes(msgspec.json.format(msgspec.json.encode(entries), indent=1) + b"\n")
    results.write_text(render(entries))


def render(entries: dict[str, Entry]) -> str:
    """The text of `RESULTS.md`: a table for each machine state that rows were measured on, newest first."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries.values():
        groups.setdefault(json.dumps(msgspec.to_builtins(entry.machine)), []).append(entry)
    ordered = sorted(groups.values(), key=lambda group: group[0].machine.date, reverse=True)
    parts = [INTRODUCTION.format(share=MIN_SHARE)]
    for group in ordered:
        where = group[0].machine
        versions = ", ".join(f"{name} {version}" for name, version in where.versions.items())
        parts.append(
            f"## {where.date}\n\n{where.hardware}; Python {where.python}; {versions};"
            f" load average before the run {where.load:g}.\n"
        )
        parts.append(table(entry.row for entry in group) + "\n")
    return "\n".join(parts)
