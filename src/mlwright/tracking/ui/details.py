"""What the pages of one run show."""

import json
from collections.abc import Mapping, Sequence

import msgspec

from mlwright.kernel.errors import NotFound
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import columns, experiments, models, notes, runs
from mlwright.tracking.service.columns import SeriesInfo
from mlwright.tracking.spec import Comment, Dataset, DatasetInput, Experiment, LoggedModel, Param, Run, RunInfo, Tag
from mlwright.tracking.tables import PARENT_TAG
from mlwright.tracking.ui.ports import Registered, RegisteredVersion
from mlwright.tracking.ui.table import duration

SYSTEM = "system/"
#: Tags that clients set for themselves; shown apart.
_INTERNAL = ("mlflow.", "mlwright.")
#: Entries of a list shown at first.
_FIRST = 200
_MAX_CHILDREN = 200
#: Metrics on one page of charts.
MAX_CHARTS = 400
_MAX_MODELS = 50


class Head(msgspec.Struct, frozen=True):
    """The top of every page of a run.

    Attributes:
        tab: which page this is.
        charts, system: how many histories each of these pages shows.
        tags: of the run, all of them.
    """

    tab: str
    info: RunInfo
    experiment: Experiment
    duration_ms: int | None
    parent: RunInfo | None
    tags: dict[str, str]
    charts: int
    system: int
    may_change: bool


class DatasetView(msgspec.Struct, frozen=True):
    """A dataset that the run read. `columns` are (name, type) when the schema is understood."""

    dataset: Dataset
    context: str
    columns: list[tuple[str, str]]
    profile: list[tuple[str, str]]


class Overview(msgspec.Struct, frozen=True):
    """The first page of a run. The lists are cut to a first part unless everything was asked for; `counts` are all."""

    head: Head
    metrics: list[SeriesInfo]
    params: list[Param]
    tags: list[Tag]
    internal: list[Tag]
    counts: dict[str, int]
    hidden: int
    datasets: list[DatasetView]
    models: list[tuple[str, LoggedModel | None, int | None]]
    registered: list[RegisteredVersion]
    note: str
    comments: list[Comment]
    children: list[RunInfo]


class Group(msgspec.Struct, frozen=True):
    """Charts under one heading: the part of their names before the first slash."""

    name: str
    charts: list[SeriesInfo]


class Charts(msgspec.Struct, frozen=True):
    """The page of charts; metrics with a single point are listed, not drawn.

    Attributes:
        find: what the names shown contain.
        hidden: metrics left out, because a page of thousands of charts serves nobody.
    """

    head: Head
    groups: list[Group]
    single: list[SeriesInfo]
    find: str
    hidden: int


def head(tx: Tx, caller: Caller, run_id: str, now_ms: int, tab: str) -> Head:
    """Raises NotFound."""
    found = runs.find(tx, caller, run_id)
    tags = columns.tags_of(tx, found.info.row)
    return _head(tx, caller, found, tags, columns.series_of(tx, found.info.row), now_ms, tab)


def _head(
    tx: Tx,
    caller: Caller,
    found: runs.OpenRun,
    tags: Mapping[str, str],
    series: Sequence[SeriesInfo],
    now_ms: int,
    tab: str,
) -> Head:
    info = found.info
    return Head(
        tab=tab,
        info=info,
        experiment=experiments.get(tx, caller, info.experiment_id),
        duration_ms=duration(info.start_ms, info.end_ms, info.status.name, now_ms),
        parent=_parent(tx, caller, tags.get(PARENT_TAG, "")),
        tags=dict(tags),
        charts=sum(1 for each in series if not each.key.startswith(SYSTEM)),
        system=sum(1 for each in series if each.key.startswith(SYSTEM)),
        may_change=caller.may(found.project, Role.EDITOR),
    )


def _parent(tx: Tx, caller: Caller, run_id: str) -> RunInfo | None:
    if not run_id:
        return None
    try:
        return runs.find(tx, caller, run_id).info
    except NotFound:  # it was removed for good, or lies in a project that the caller may not see
        return None


def overview(tx: Tx, caller: Caller, registered: Registered, run_id: str, now_ms: int, *, everything: bool) -> Overview:
    """Raises NotFound."""
    found = runs.find(tx, caller, run_id)
    run = runs.load(tx, [found.info])[0]
    series = columns.series_of(tx, found.info.row)
    tags = {tag.key: tag.value for tag in run.tags}
    own = [tag for tag in run.tags if not tag.key.startswith(_INTERNAL)]
    internal = [tag for tag in run.tags if tag.key.startswith(_INTERNAL)]
    limit = None if everything else _FIRST
    shown = [each for each in series if not each.key.startswith(SYSTEM)]
    counts = {"metrics": len(shown), "params": len(run.params), "tags": len(own), "internal": len(internal)}
    return Overview(
        head=_head(tx, caller, found, tags, series, now_ms, "overview"),
        metrics=shown[:limit],
        params=run.params[:limit],
        tags=own[:limit],
        internal=internal[:limit],
        counts=counts,
        hidden=0 if everything else sum(max(0, each - _FIRST) for each in counts.values()),
        datasets=[_dataset(each) for each in run.dataset_inputs],
        models=_models(tx, caller, run),
        registered=registered.of_run(tx, caller, run_id),
        note=tags.get("mlflow.note.content", ""),
        comments=notes.list_comments(tx, caller, run_id),
        children=columns.children(tx, caller, run_id, _MAX_CHILDREN),
    )


def charts(tx: Tx, caller: Caller, run_id: str, now_ms: int, *, system: bool, find: str = "") -> Charts:
    """The histories of a run by group: those of the machine (`system`), or all others; at most MAX_CHARTS."""
    top = head(tx, caller, run_id, now_ms, "system" if system else "charts")
    words = find.lower().split()
    found = [
        each
        for each in columns.series_of(tx, top.info.row)
        if each.key.startswith(SYSTEM) == system and all(word in each.key.lower() for word in words)
    ]
    series = found[:MAX_CHARTS]
    listed = _groups([each for each in series if each.points > 1], SYSTEM if system else "")
    single = [each for each in series if each.points == 1]
    return Charts(top, listed, single, find, len(found) - len(series))


def _groups(series: Sequence[SeriesInfo], prefix: str) -> list[Group]:
    """Metrics by the first part of their names; those that would be alone in their group come first, together."""
    groups: dict[str, list[SeriesInfo]] = {}
    for each in series:
        name, slash, _ = each.key.removeprefix(prefix).partition("/")
        groups.setdefault(name if slash else "", []).append(each)
    alone = {name for name, members in groups.items() if not name or len(members) == 1}
    together = sorted((each for name in alone for each in groups[name]), key=lambda each: each.key)
    others = [Group(name, groups[name]) for name in sorted(groups.keys() - alone)]
    return [Group("", together), *others] if together else others


def _models(tx: Tx, caller: Caller, run: Run) -> list[tuple[str, LoggedModel | None, int | None]]:
    wanted = [(model_id, None) for model_id in run.model_inputs]
    outputs = [(output.model_id, output.step) for output in run.model_outputs]
    found: list[tuple[str, LoggedModel | None, int | None]] = []
    for model_id, step in [*wanted, *outputs][:_MAX_MODELS]:
        try:
            model: LoggedModel | None = models.get(tx, caller, model_id, deleted=True)
        except NotFound:  # logged elsewhere, or removed for good
            model = None
        found.append((model_id, model, step))
    return found


# --- datasets ------------------------------------------------------------------------------------------------------


def _dataset(given: DatasetInput) -> DatasetView:
    context = next((tag.value for tag in given.tags if tag.key == "mlflow.data.context"), "")
    return DatasetView(
        given.dataset, context, schema_columns(given.dataset.schema), profile_facts(given.dataset.profile)
    )


def schema_columns(schema: str | None) -> list[tuple[str, str]]:
    """(name, type) of each column of an MLflow dataset schema; nothing when it has another form."""
    try:
        document = json.loads(schema or "")
    except ValueError:
        return []
    if not isinstance(document, dict):
        return []
    found: list[tuple[str, str]] = []
    for name in ("mlflow_colspec", "mlflow_tensorspec"):
        found += _specs(document.get(name))
    return found


def _specs(specs: object) -> list[tuple[str, str]]:
    if isinstance(specs, dict):
        return [pair for part in specs.values() for pair in _specs(part)]
    if not isinstance(specs, list):
        return []
    found = []
    for index, spec in enumerate(specs):
        if isinstance(spec, dict):
            kind = spec.get("type")
            tensor = spec.get("tensor-spec")
            if isinstance(tensor, dict):
                kind = f"{tensor.get('dtype')} {tensor.get('shape')}"
            found.append((str(spec.get("name", index)), str(kind)))
    return found


def profile_facts(profile: str | None) -> list[tuple[str, str]]:
    """The figures of a dataset profile, such as num_rows; nothing when it has another form."""
    try:
        document = json.loads(profile or "")
    except ValueError:
        return []
    if not isinstance(document, dict):
        return []
    return [(str(key), str(value)[:200]) for key, value in document.items() if not isinstance(value, dict | list)][:50]
