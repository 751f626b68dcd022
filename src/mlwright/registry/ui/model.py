"""What the pages of one model show."""

from collections.abc import Sequence

import msgspec

from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.search import page as pages_of
from mlwright.kernel.transaction import Tx
from mlwright.registry import search
from mlwright.registry.service import gates, history, models, rows
from mlwright.registry.service.history import Happened
from mlwright.registry.service.models import Found
from mlwright.registry.spec import Alias, ModelVersion
from mlwright.registry.ui import address
from mlwright.registry.ui.standing import Summary, summary
from mlwright.tracking.service import columns as values
from mlwright.tracking.spec import RunInfo, Tag
from mlwright.web.columns import KINDS, Cell, Column, cell, cells_html

_DEFAULT_METRICS = 5
#: The first choice of columns is made from this many runs; so many are asked which columns there are.
_SAMPLE = 20
SAMPLED_RUNS = 200
_MAX_KEYS = 2_000
_MAX_MOVES = 200
PAGE = 50


class ModelHead(msgspec.Struct, frozen=True):
    """The top of every page of a model. `base` is its address, `numbers` how many versions were registered so far."""

    tab: str
    name: str
    project: str
    base: str
    numbers: int
    created_ms: int
    updated_ms: int
    may_change: bool


class AliasView(msgspec.Struct, frozen=True):
    """An alias that was ever set: `version` is 0 when it is gone. `moves` are the newest first."""

    alias: str
    version: int
    url: str
    moves: list[Happened]


class VersionRow(msgspec.Struct, frozen=True):
    """A version in the table; `run` is its run's name, empty when the caller may not see it."""

    version: int
    url: str
    stage: str
    aliases: list[str]
    gates: Summary
    digest: str | None
    author: str
    description: str
    run_id: str | None
    run: str
    created_ms: int
    cells: list[Cell]

    def html(self, columns: Sequence[Column]) -> str:
        return cells_html(columns, self.cells)


class ModelPage(msgspec.Struct, frozen=True):
    """The first page of a model.

    Attributes:
        guarded: (policy, what it guards) of the policies that are about it.
        chosen: the columns as the address has them; empty when it has none.
    """

    head: ModelHead
    description: str
    tags: list[Tag]
    aliases: list[AliasView]
    guarded: list[tuple[str, list[str]]]
    columns: list[Column]
    chosen: str
    rows: list[VersionRow]
    first: int
    size: int
    next_token: str
    previous_token: str


class HistoryPage(msgspec.Struct, frozen=True):
    """What happened to a model; `before` leads to what is older."""

    head: ModelHead
    events: list[Happened]
    before: int


def head(caller: Caller, found: Found, tab: str) -> ModelHead:
    return ModelHead(
        tab,
        found.name,
        found.project,
        address.of_model(found.project, found.name),
        found.last_version,
        found.created_ms,
        found.updated_ms,
        caller.may(found.project, Role.EDITOR),
    )


def load(
    tx: Tx, caller: Caller, name: str, project: str, chosen: Sequence[Column] | None, size: int, token: str
) -> ModelPage:
    """Raises NotFound, and Invalid for a wrong token."""
    found = models.find(tx, caller, name, Role.VIEWER, project)
    page = search.versions_of(tx, found.row, size, token)
    offset = pages_of.decode(token).offset
    versions = rows.versions(tx, page.rows)
    model = rows.models(tx, [found])[0]
    runs = _runs(tx, caller, versions)
    columns = _first_columns(tx, list(runs.values())) if chosen is None else list(chosen)
    policies = gates.policies(tx, found.project, found.name)
    return ModelPage(
        head=head(caller, found, "versions"),
        description=model.description or "",
        tags=[Tag(*pair) for pair in model.tags.items()],
        aliases=_aliases(tx, found, model.aliases),
        guarded=[(each.name, [*each.spec.aliases, *each.spec.stages]) for each in policies],
        columns=columns,
        chosen="",
        rows=_rows(tx, versions, model.aliases, runs, columns),
        first=offset + 1,
        size=size,
        next_token=page.next_page_token,
        previous_token=pages_of.encode(offset - size) if offset > size else "",
    )


def _runs(tx: Tx, caller: Caller, versions: Sequence[ModelVersion]) -> dict[str, RunInfo]:
    return values.readable_runs(tx, caller, sorted({each.run_id for each in versions if each.run_id}))


def _first_columns(tx: Tx, runs: Sequence[RunInfo]) -> list[Column]:
    numbers = [run.row for run in runs[:_SAMPLE]]
    return [Column("metrics", key) for key in values.common_keys(tx, values.METRICS, numbers, _DEFAULT_METRICS)]


def _rows(
    tx: Tx,
    versions: Sequence[ModelVersion],
    aliases: Sequence[Alias],
    runs: dict[str, RunInfo],
    columns: Sequence[Column],
) -> list[VersionRow]:
    standings = gates.standings_of(tx, versions)
    numbers = [run.row for run in runs.values()]
    found = {
        kind: values.values(tx, kind, numbers, [column.key for column in columns if column.kind == kind])
        for kind in KINDS
    }
    lines = []
    for each in versions:
        run = runs.get(each.run_id or "")
        row = run.row if run else -1
        cells = [cell(column, found[column.kind].get((row, column.key))) for column in columns]
        own = [alias.alias for alias in aliases if alias.version == each.version]
        lines.append(
            VersionRow(
                each.version, address.of_version(each.project, each.name, each.version), each.stage.value, own,
                summary(standings[each.row]), each.digest, each.author, each.description or "",
                run.run_id if run else None, run.name if run else "", each.created_ms, cells,
            )
        )  # fmt: skip
    return lines


def _aliases(tx: Tx, model: Found, aliases: Sequence[Alias]) -> list[AliasView]:
    moves: dict[str, list[Happened]] = {each.alias: [] for each in aliases}
    for event in history.of_aliases(tx, model, _MAX_MOVES):
        moves.setdefault(str(event.data["alias"]), []).append(event)
    now = {each.alias: each.version for each in aliases}
    return [
        AliasView(alias, version, address.of_version(model.project, model.name, version), moves[alias])
        for alias in sorted(moves, key=lambda alias: (alias not in now, alias))
        for version in [now.get(alias, 0)]
    ]


def keys(tx: Tx, caller: Caller, name: str, project: str) -> dict[str, object]:
    """What can be a column: {metrics, params, tags: [names], complete} of the runs of the newest versions."""
    found = models.find(tx, caller, name, Role.VIEWER, project)
    page = search.versions_of(tx, found.row, SAMPLED_RUNS)
    numbers = [run.row for run in _runs(tx, caller, rows.versions(tx, page.rows)).values()]
    named = {kind: sorted(values.common_keys(tx, kind, numbers, _MAX_KEYS)) for kind in KINDS}
    return {**named, "complete": not page.next_page_token}


def load_history(tx: Tx, caller: Caller, name: str, project: str, before: int) -> HistoryPage:
    """Raises NotFound."""
    found = models.find(tx, caller, name, Role.VIEWER, project)
    events = history.of_model(tx, caller, name, project, PAGE, before)
    return HistoryPage(head(caller, found, "history"), events, events[-1].seq if len(events) == PAGE else 0)
