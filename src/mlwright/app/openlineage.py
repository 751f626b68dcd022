"""Lineage as OpenLineage events (https://openlineage.io/spec/2-0-2/OpenLineage.json), for catalogues that collect them.

A run is a run of a job named after its experiment, with a START event and one that says how it ended. Registering a
version is a run of its own. Models and versions are datasets of the type MODEL, as in the standard's own facet.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from mlwright import __version__
from mlwright.kernel.lineage import LineageGraph, LineageNode, scope_of

PRODUCER = f"https://mlwright.dev/{__version__}"
_SPEC = "https://openlineage.io/spec"
_SCHEMA = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
_ENDS = {"FINISHED": "COMPLETE", "FAILED": "FAIL", "KILLED": "ABORT"}
#: Versions have no run of their own; their run's id is made from their subject in this name space.
_REGISTRATIONS = uuid.UUID("4f9a3c52-6d0e-5b52-9d3c-6f0f7d1f2b11")
Facet = dict[str, object]


class OpenLineageRun(msgspec.Struct, frozen=True, rename="camel"):
    """`run_id` is a UUID."""

    run_id: str
    facets: dict[str, Facet] = {}


class OpenLineageJob(msgspec.Struct, frozen=True):
    """What was run."""

    namespace: str
    name: str
    facets: dict[str, Facet] = {}


class OpenLineageDataset(msgspec.Struct, frozen=True):
    """What was read or written."""

    namespace: str
    name: str
    facets: dict[str, Facet] = {}


class RunEvent(
    msgspec.Struct,
    frozen=True,
    rename={"schema_url": "schemaURL", "event_type": "eventType", "event_time": "eventTime"},
):
    """An event of OpenLineage; times are ISO 8601 in UTC."""

    event_type: str
    event_time: str
    run: OpenLineageRun
    job: OpenLineageJob
    inputs: list[OpenLineageDataset] = []
    outputs: list[OpenLineageDataset] = []
    producer: str = PRODUCER
    schema_url: str = _SCHEMA


def run_events(graph: LineageGraph) -> list[RunEvent]:
    """The events of all runs and registrations in a graph, in the order of their times."""
    nodes = {node.id: node for node in graph.nodes}
    sources: dict[str, list[LineageNode]] = defaultdict(list)
    targets: dict[str, list[LineageNode]] = defaultdict(list)
    for edge in graph.edges:
        sources[edge.target].append(nodes[edge.source])
        targets[edge.source].append(nodes[edge.target])
    events: list[RunEvent] = []
    for node in graph.nodes:
        if node.kind == "run":
            events += _of_run(node, sources[node.id], targets[node.id])
        elif node.kind == "model-version":
            events += _of_registration(node, sources[node.id])
    return sorted(events, key=lambda event: event.event_time)


def _of_run(node: LineageNode, read: Iterable[LineageNode], written: Iterable[LineageNode]) -> Iterator[RunEvent]:
    job = OpenLineageJob(_namespace(node), str(node.facts["experiment"]), {"jobType": _job_type("RUN")})
    run = OpenLineageRun(str(uuid.UUID(node.id.removeprefix("run/"))))
    inputs = _datasets(read)
    started, ended = node.facts.get("startMs"), node.facts.get("endMs")
    if isinstance(started, int):
        yield RunEvent("START", _time(started), run, job, inputs)
    end = _ENDS.get(str(node.facts["status"]))
    if end is not None and isinstance(ended, int):
        yield RunEvent(end, _time(ended), run, job, inputs, _datasets(written))


def _of_registration(node: LineageNode, made_from: Iterable[LineageNode]) -> Iterator[RunEvent]:
    at_ms = node.facts.get("createdMs")
    if not isinstance(at_ms, int):
        return
    subject, _ = scope_of(node.id)
    name = subject.removeprefix("model-version/").rpartition("/")[0]
    job = OpenLineageJob(_namespace(node), f"register {name}", {"jobType": _job_type("REGISTRATION")})
    run = OpenLineageRun(str(uuid.uuid5(_REGISTRATIONS, f"{node.project}/{subject}")))
    inputs = _datasets(each for each in made_from if each.kind != "run")
    for kind in ("START", "COMPLETE"):
        yield RunEvent(kind, _time(at_ms), run, job, inputs, _datasets([node]))


def _datasets(nodes: Iterable[LineageNode]) -> list[OpenLineageDataset]:
    return [_dataset(node) for node in nodes if node.kind in {"dataset", "model", "model-version"}]


def _dataset(node: LineageNode) -> OpenLineageDataset:
    rest = scope_of(node.id)[0].partition("/")[2]
    if node.kind == "dataset":
        facets = {"version": _version(str(node.facts["digest"]))}
        return OpenLineageDataset(_namespace(node), node.name, facets)
    facets = {"datasetType": _facet("1-0-1", "DatasetTypeDatasetFacet", {"datasetType": "MODEL"})}
    if node.kind == "model-version":
        rest, _, number = rest.rpartition("/")
        facets["version"] = _version(number)
    return OpenLineageDataset(_namespace(node), f"{node.kind}/{rest}", facets)


def _version(text: str) -> Facet:
    return _facet("1-0-1", "DatasetVersionDatasetFacet", {"datasetVersion": text})


def _job_type(kind: str) -> Facet:
    known = {"processingType": "BATCH", "integration": "MLWRIGHT", "jobType": kind}
    return _facet("2-0-4", "JobTypeJobFacet", known)


def _facet(version: str, name: str, content: Mapping[str, object]) -> Facet:
    return {"_producer": PRODUCER, "_schemaURL": f"{_SPEC}/facets/{version}/{name}.json#/$defs/{name}", **content}


def _namespace(node: LineageNode) -> str:
    return f"mlwright://{quote(node.project)}"


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
