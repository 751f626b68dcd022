"""Keeps what was read from the source, as counts and digests, and compares it with what is stored in the end."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from mlwright.kernel.client import Client
from mlwright.tracking import canonical
from mlwright.tracking.importer.counts import THINGS, Counts, Place, Row
from mlwright.tracking.ports import MovedExperiment, MovedModel, MovedRun, Source
from mlwright.tracking.service.bulk import state_of as run_state
from mlwright.tracking.service.bulk_models import state_of as model_state

_TOGETHER = 100


class _Entry(NamedTuple):
    """What the source says of a run or model, small enough to keep millions."""

    experiment: str
    counts: tuple[int, ...]
    digest: bytes


class Ledger:
    """Args:
    client: of the server to compare with.
    source: read again for what people changed here.
    dry_run: whether nothing was moved, so that differences are expected.
    """

    def __init__(self, client: Client, source: Source, *, dry_run: bool) -> None:
        self._client = client
        self._source = source
        self._dry_run = dry_run
        self.source = Counts()
        self._experiments: dict[str, tuple[Place, MovedExperiment | None]] = {}
        self._runs: dict[str, _Entry] = {}
        self._models: dict[str, _Entry] = {}
        self.files: dict[str, list[tuple[str, int, str]]] = defaultdict(list)

    def experiment(self, place: Place) -> None:
        self._experiments[place.source_id] = (place, None)
        self.source.add(experiments=1)

    def run(self, experiment: MovedExperiment, run: MovedRun, series: dict[str, tuple[int, str]]) -> None:
        state = run_state(run, series)
        self._experiments[experiment.source_id] = (self._experiments[experiment.source_id][0], experiment)
        counts = (state.params, state.tags, state.points, state.datasets)
        self._runs[run.run_id] = _Entry(experiment.source_id, counts, _of_run(state.content, state.series))
        self.source.add(runs=1, params=counts[0], tags=counts[1], points=counts[2], datasets=counts[3])

    def model(self, experiment: MovedExperiment, model: MovedModel) -> None:
        state = model_state(model)
        self._experiments[experiment.source_id] = (self._experiments[experiment.source_id][0], experiment)
        self._models[model.model_id] = _Entry(experiment.source_id, (1,), bytes.fromhex(state.content))
        self.source.add(models=1)

    def file(self, address: str, path: str, size: int, digest: str) -> None:
        """A file of a run or model; `digest` is empty when it was not read."""
        self.files[address].append((path, size, digest))
        self.source.add(files=1, bytes=size)

    # --- comparing ---------------------------------------------------------------------------------------------

    def compare(self) -> tuple[list[Row], list[str]]:
        """The comparison thing by thing, and the ids of what differs."""
        found = Counts(experiments=sum(1 for place, _ in self._experiments.values() if place.experiment_id is not None))
        differing: list[str] = []
        self._compare_runs(found, differing)
        self._compare_models(found, differing)
        self._compare_files(found, differing)
        rows = []
        for thing in THINGS:
            source, stored = getattr(self.source, thing), getattr(found, thing)
            rows.append(Row(thing, source, stored, source == stored))
        if differing:
            rows = [msgspec.structs.replace(row, equal=False) if row.thing == "runs" else row for row in rows]
        return rows, differing

    def _compare_runs(self, found: Counts, differing: list[str]) -> None:
        suspects: dict[str, list[str]] = defaultdict(list)
        for ids in _parts(list(self._runs)):
            answer = self._client.post_packed("/v1/import/states", {"run_ids": ids})
            stored = {each["run_id"]: each for each in answer["runs"]}
            for run_id in ids:
                entry, state = self._runs[run_id], stored.get(run_id)
                if state is None:
                    differing.append(run_id)
                elif _of_run(state["content"], state["series"]) == entry.digest:
                    _add_run(found, entry.counts)
                else:
                    suspects[entry.experiment].append(run_id)
                    counts = (state["params"], state["tags"], state["points"], state["datasets"])
                    lesser = tuple(min(pair) for pair in zip(entry.counts, counts, strict=True))
                    _add_run(found, lesser)
        for source_id, ids in suspects.items():
            differing += self._really_differ(source_id, ids)

    def _really_differ(self, source_id: str, run_ids: Sequence[str]) -> list[str]:
        """Those of the runs that lack something; the others only have more than the source, added here."""
        place, experiment = self._experiments[source_id]
        if experiment is None or place.experiment_id is None:
            return list(run_ids)
        found = []
        for run in self._source.runs(experiment, set(run_ids)):
            kept = msgspec.structs.replace(run, artifact_uri="")
            body = {"experiment_id": place.experiment_id, "runs": [kept], "dry_run": True}
            series = [
                {"run_id": run.run_id, "key": key, "data": canonical.canonical(data).tobytes()}
                for key, data in self._source.histories(experiment, run)
            ]
            missing = sum(self._missing(each) for each in series)
            if missing or self._client.post_packed("/v1/import/runs", body)[0]["changed"]:
                found.append(run.run_id)
        return found

    def _missing(self, history: Mapping[str, Any]) -> int:
        answer = self._client.post_packed("/v1/import/series", {"series": [history], "dry_run": True})
        return int(answer["points"][0])

    def _compare_models(self, found: Counts, differing: list[str]) -> None:
        suspects: dict[str, set[str]] = defaultdict(set)
        for ids in _parts(list(self._models)):
            answer = self._client.post_packed("/v1/import/states", {"model_ids": ids})
            stored = {each["model_id"]: each["content"] for each in answer["models"]}
            for model_id in ids:
                if model_id not in stored:
                    differing.append(model_id)
                    continue
                found.add(models=1)
                if bytes.fromhex(stored[model_id]) != self._models[model_id].digest:
                    suspects[self._models[model_id].experiment].add(model_id)
        for source_id, wanted in suspects.items():
            differing += self._models_that_differ(source_id, wanted)

    def _models_that_differ(self, source_id: str, model_ids: set[str]) -> list[str]:
        place, experiment = self._experiments[source_id]
        if experiment is None:
            return sorted(model_ids)
        models = [
            msgspec.structs.replace(model, artifact_uri="")
            for model in self._source.models(experiment)
            if model.model_id in model_ids
        ]
        body = {"experiment_id": place.experiment_id, "models": models, "dry_run": True}
        return [each["model_id"] for each in self._client.post_packed("/v1/import/models", body) if each["changed"]]

    def _compare_files(self, found: Counts, differing: list[str]) -> None:
        for address, files in self.files.items():
            owner = address.partition("/")[2]
            if owner in differing and self._dry_run:
                continue
            stored = {each["path"]: each for each in self._client.get(f"/v1/{address}/artifacts", all="true")}
            for path, size, digest in files:
                here = stored.get(path)
                if here is not None and (here["size"], here["digest"]) == (size, digest):
                    found.add(files=1, bytes=size)
                elif owner not in differing:
                    differing.append(owner)


def _add_run(found: Counts, counts: tuple[int, ...]) -> None:
    found.add(runs=1, params=counts[0], tags=counts[1], points=counts[2], datasets=counts[3])


def _of_run(content: str, series: Mapping[str, Any]) -> bytes:
    whole = [content, sorted((key, state[0], state[1]) for key, state in series.items())]
    return hashlib.sha256(msgspec.json.encode(whole)).digest()


def _parts(ids: list[str]) -> Iterator[list[str]]:
    return (ids[start : start + _TOGETHER] for start in range(0, len(ids), _TOGETHER))
