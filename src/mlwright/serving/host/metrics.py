"""What a host has counted, in the text format of Prometheus.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format (version 0.0.4)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from mlwright.serving.host.capacity import Capacity
from mlwright.serving.host.counts import BOUNDS, Tally
from mlwright.serving.host.endpoints import Endpoint
from mlwright.serving.host.places import WorkerPlaces
from mlwright.serving.host.recording import Recorder
from mlwright.serving.host.versions import Version

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
#: Every eighth bound: each bucket is about twice as wide as the one before.
_COARSE = 8
_PREFIX = "mlwright_serving"

Labels = Mapping[str, str]
Sample = tuple[str, Labels, float]


class Family:
    """Samples of one metric. `kind`: counter, gauge or histogram."""

    def __init__(self, name: str, kind: str, help_: str) -> None:
        self._name = f"{_PREFIX}_{name}"
        self._kind = kind
        self._help = help_
        self._samples: list[Sample] = []

    def add(self, labels: Labels, value: float, suffix: str = "") -> None:
        """Add a sample."""
        self._samples.append((suffix, labels, value))

    def lines(self) -> Iterator[str]:
        """The family as text; nothing where it has no samples."""
        if self._samples:
            yield f"# HELP {self._name} {_escaped(self._help)}"
            yield f"# TYPE {self._name} {self._kind}"
        for suffix, labels, value in self._samples:
            shown = ",".join(f'{name}="{_quoted(text)}"' for name, text in labels.items())
            yield f"{self._name}{suffix}{'{'}{shown}{'}'} {_number(value)}"


def text(
    recorder: Recorder, places: WorkerPlaces, capacity: Capacity, endpoints: Sequence[Endpoint], everything: bool
) -> bytes:
    """The metrics of endpoints, and those of the host if everything is wanted."""
    families = [*_of_versions(endpoints), *_of_endpoints(endpoints, recorder)]
    if everything:
        families += _of_processes(places, capacity)
    return "".join(f"{line}\n" for family in families for line in family.lines()).encode()


def _of_versions(endpoints: Iterable[Endpoint]) -> list[Family]:
    requests = Family("requests_total", "counter", "Requests that a version was asked, by what became of them.")
    seconds = Family("request_duration_seconds", "histogram", "From asking a version to its answer.")
    batches = Family("batch_requests", "histogram", "Requests that were answered together.")
    under_way = Family("requests_under_way", "gauge", "Requests that wait or are being answered.")
    deaths = Family("process_deaths_total", "counter", "Processes that ended while the version answered in them.")
    numbers = Family("output_numbers_total", "counter", "Numbers in answers.")
    nans = Family("output_nans_total", "counter", "Numbers in answers that are NaN.")
    compared = Family("compared_rows_total", "counter", "Rows of copies that were compared with the stable version's.")
    differing = Family("differing_rows_total", "counter", "Rows of copies that were answered differently.")
    loaded = Family("version_loaded", "gauge", "1 where the version answers at once.")
    processes = Family("version_processes", "gauge", "Processes that are to run the version.")
    memory = Family("version_memory_bytes", "gauge", "Memory that the version took when it was loaded.")
    for endpoint in endpoints:
        for number, version in list(endpoint.versions.items()):
            labels, tally = _labels(endpoint, number, version), version.tally
            good = tally.requests - tally.errors - tally.late
            for outcome, count in (("ok", good), ("error", tally.errors), ("late", tally.late)):
                requests.add({**labels, "outcome": outcome}, count)
            _histogram(seconds, labels, tally)
            _batches(batches, labels, tally)
            under_way.add(labels, version.under_way)
            deaths.add(labels, tally.deaths)
            numbers.add(labels, tally.numbers)
            nans.add(labels, tally.nans)
            compared.add(labels, tally.rows)
            differing.add(labels, tally.disagreements)
            loaded.add(labels, version.loaded)
            processes.add(labels, version.replicas)
            memory.add(labels, version.grown if version.loaded else 0)
    return [
        requests, seconds, batches, under_way, deaths, numbers, nans, compared, differing, loaded, processes, memory,
    ]  # fmt: skip


def _labels(endpoint: Endpoint, number: int, version: Version) -> Labels:
    served, revision = endpoint.served, version.revision
    return {
        "project": served.project,
        "endpoint": served.name,
        "revision": str(number),
        "model": revision.model,
        "version": str(revision.version),
    }


def _histogram(family: Family, labels: Labels, tally: Tally) -> None:
    below = list(accumulate(tally.latency))
    for place in range(_COARSE, len(BOUNDS), _COARSE):
        family.add({**labels, "le": f"{BOUNDS[place]:.6g}"}, below[place], "_bucket")
    family.add({**labels, "le": "+Inf"}, below[-1], "_bucket")
    family.add(labels, tally.seconds, "_sum")
    family.add(labels, below[-1], "_count")


def _batches(family: Family, labels: Labels, tally: Tally) -> None:
    below = list(accumulate(tally.batches))
    for digits in range(1, len(below)):
        family.add({**labels, "le": str(2**digits - 1)}, below[digits], "_bucket")
    family.add({**labels, "le": "+Inf"}, below[-1], "_bucket")
    family.add(labels, tally.batched, "_sum")
    family.add(labels, below[-1], "_count")


def _of_endpoints(endpoints: Iterable[Endpoint], recorder: Recorder) -> list[Family]:
    refused = Family("refused_total", "counter", "Requests that got no answer, by the code of the reason.")
    share = Family("candidate_share", "gauge", "Share of the traffic that the candidate gets, from 0 to 1.")
    tripped = Family("candidate_stopped", "gauge", "1 where a guard has stopped the candidate.")
    dropped = Family("copies_dropped_total", "counter", "Copies for a candidate that were not made.")
    logged = Family("predictions_logged_total", "counter", "Predictions that are in the log.")
    lost = Family("predictions_not_logged_total", "counter", "Predictions that the log could not take.")
    for endpoint in endpoints:
        served = endpoint.served
        labels = {"project": served.project, "endpoint": served.name}
        for code, count in list(endpoint.refused.items()):
            refused.add({**labels, "code": code}, count)
        share.add(labels, served.share if endpoint.candidate is not None else 0.0)
        tripped.add(labels, served.candidate in endpoint.tripped)
        dropped.add(labels, endpoint.copies_dropped)
        logged.add(labels, recorder.written[served.name])
        lost.add(labels, recorder.dropped[served.name])
    return [refused, share, tripped, dropped, logged, lost]


def _of_processes(places: WorkerPlaces, capacity: Capacity) -> list[Family]:
    memory = Family("process_memory_bytes", "gauge", "Memory of a process that holds models, which no other shares.")
    models = Family("process_models", "gauge", "Models in a process.")
    evictions = Family("evictions_total", "counter", "Models that were unloaded because memory was short.")
    replaced = Family("processes_replaced_total", "counter", "Processes that hung or took more memory than they may.")
    for (python, number), worker in places.living.items():
        labels = {"environment": Path(python).parent.parent.name, "number": str(number)}
        memory.add(labels, worker.memory)
        models.add(labels, len(worker.models))
    evictions.add({}, capacity.evictions)
    replaced.add({}, sum(capacity.replaced.values()))
    return [memory, models, evictions, replaced]


def _number(value: float) -> str:
    return f"{value:.17g}"


def _quoted(text_: str) -> str:
    return _escaped(text_).replace('"', '\\"')


def _escaped(text_: str) -> str:
    return text_.replace("\\", "\\\\").replace("\n", "\\n")
