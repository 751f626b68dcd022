"""The move itself: experiment by experiment, runs in batches, histories packed, files streamed."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from mlwright.kernel.client import Client
from mlwright.kernel.errors import Conflict, NotFound
from mlwright.tracking import canonical
from mlwright.tracking.importer.counts import Counts, Outcome, Place, Progress
from mlwright.tracking.importer.ledger import Ledger
from mlwright.tracking.points import RECORD_BYTES
from mlwright.tracking.ports import MovedExperiment, MovedFile, MovedModel, MovedRun, Source

_RUNS_TOGETHER = 200
_MODELS_TOGETHER = 100
#: Histories that are sent in one request.
_BATCH_BYTES = 6 << 20
_BATCH_SERIES = 2_000


class Options(msgspec.Struct, frozen=True):
    """What to move, and where to.

    Attributes:
        source: its address, for the events.
        project: where to; the caller's own when empty.
        prefix: put before the names of experiments.
        names: only these experiments; all when empty.
        artifacts: copy files; else they stay where they are.
        verify_files: read also the files that are here already, and compare their digests.
        dry_run: only say what would change.
    """

    source: str
    project: str = ""
    prefix: str = ""
    names: tuple[str, ...] = ()
    artifacts: bool = True
    verify_files: bool = False
    dry_run: bool = False


class Mover:
    """Args:
    client: of the server to move to.
    source: what to move.
    """

    def __init__(self, client: Client, source: Source, options: Options, progress: Progress) -> None:
        self._client = client
        self._source = source
        self._options = options
        self._progress = progress
        self._changes = Counts()
        self._ledger = Ledger(client, source, dry_run=options.dry_run)
        self._series: list[dict[str, Any]] = []
        self._series_bytes = 0

    def move(self) -> Outcome:
        """Move everything that was asked for, and compare. Raises what the source and the server raise."""
        chosen = self._chosen()
        places = []
        for number, experiment in enumerate(chosen, 1):
            self._progress.experiment(experiment.name, number, len(chosen))
            places.append(self._experiment(experiment))
        rows, differing = self._ledger.compare()
        verified = all(row.equal for row in rows)
        return Outcome(verified, self._changes, rows, places, differing)

    @property
    def files(self) -> Mapping[str, Sequence[tuple[str, int, str]]]:
        """Path, size in bytes and digest of all files of runs and logged models, by their address in the API."""
        return self._ledger.files

    def _chosen(self) -> list[MovedExperiment]:
        found = self._source.experiments()
        wanted = set(self._options.names)
        unknown = wanted - {each.name for each in found}
        if unknown:
            raise NotFound(
                f"the source has no experiment {sorted(unknown)[0]!r}",
                path="--experiment",
                hint="it has: " + ", ".join(repr(each.name) for each in found[:20]),
            )
        return [each for each in found if not wanted or each.name in wanted]

    def _experiment(self, experiment: MovedExperiment) -> Place:
        body = {
            "experiment": experiment,
            "project": self._options.project,
            "prefix": self._options.prefix,
            "dry_run": self._options.dry_run,
        }
        found = self._client.post_packed("/v1/import/experiments", body)
        place = Place(found["source_id"], found["name"], found["experiment_id"])
        self._changes.add(experiments=int(found["changed"]))
        self._ledger.experiment(place)
        for runs in _batches(self._source.runs(experiment), _RUNS_TOGETHER):
            self._runs(experiment, place, runs)
        for models in _batches(self._source.models(experiment), _MODELS_TOGETHER):
            self._models(experiment, place, models)
        return place

    # --- runs --------------------------------------------------------------------------------------------------

    def _runs(self, experiment: MovedExperiment, place: Place, runs: Sequence[MovedRun]) -> None:
        created = self._send(place, "runs", [self._kept(run) for run in runs])
        for run in runs:
            series = {}
            for key, data in self._source.histories(experiment, run):
                records = canonical.canonical(data)
                if len(records):
                    series[key] = (len(records), canonical.digest(records))
                    self._history(run.run_id, key, records.tobytes(), absent=run.run_id in created)
            self._ledger.run(experiment, run, series)
            self._progress.counted(self._ledger.source)
        self._flush()
        for run in runs:
            self._files(experiment, run, f"runs/{run.run_id}", new=run.run_id in created)

    def _send(self, place: Place, what: str, items: Sequence[Any]) -> set[str]:
        """Send runs or models; returns the ids of those that were not here before."""
        name = "run_id" if what == "runs" else "model_id"
        if place.experiment_id is None:
            self._changes.add(**{what: len(items)})
            return {getattr(each, name) for each in items}
        found = self._client.post_packed(
            f"/v1/import/{what}",
            {
                "experiment_id": place.experiment_id,
                what: items,
                "source": self._options.source,
                "dry_run": self._options.dry_run,
            },
        )
        self._changes.add(**{what: sum(1 for each in found if each["created"] or each["changed"])})
        return {each[name] for each in found if each["created"]}

    def _kept(self, owner: Any) -> Any:
        """Without its place elsewhere when its files are copied: it gets one here."""
        return msgspec.structs.replace(owner, artifact_uri="") if self._options.artifacts else owner

    def _history(self, run_id: str, key: str, data: bytes, *, absent: bool) -> None:
        if self._options.dry_run and absent:
            self._changes.add(points=len(data) // RECORD_BYTES)
            return
        piece = _BATCH_BYTES // RECORD_BYTES * RECORD_BYTES
        for start in range(0, len(data), piece):
            part = data[start : start + piece]
            if self._series_bytes + len(part) > _BATCH_BYTES or len(self._series) >= _BATCH_SERIES:
                self._flush()
            self._series.append({"run_id": run_id, "key": key, "data": part})
            self._series_bytes += len(part)

    def _flush(self) -> None:
        if self._series:
            body = {"series": self._series, "dry_run": self._options.dry_run}
            found = self._client.post_packed("/v1/import/series", body)
            self._changes.add(points=sum(found["points"]))
        self._series, self._series_bytes = [], 0

    # --- models and files --------------------------------------------------------------------------------------

    def _models(self, experiment: MovedExperiment, place: Place, models: Sequence[MovedModel]) -> None:
        created = self._send(place, "models", [self._kept(model) for model in models])
        for model in models:
            self._ledger.model(experiment, model)
            self._files(experiment, model, f"logged-models/{model.model_id}", new=model.model_id in created)

    def _files(self, experiment: MovedExperiment, owner: MovedRun | MovedModel, address: str, *, new: bool) -> None:
        if not self._options.artifacts:
            return
        stored: dict[str, Any] | None = {} if new else None
        for file in self._source.files(experiment, owner):
            if stored is None:
                listed = self._client.get(f"/v1/{address}/artifacts", all="true")
                stored = {each["path"]: each for each in listed}
            self._file(experiment, owner, address, file, stored.get(file.path))
            self._progress.counted(self._ledger.source)

    def _file(
        self,
        experiment: MovedExperiment,
        owner: MovedRun | MovedModel,
        address: str,
        file: MovedFile,
        stored: dict[str, Any] | None,
    ) -> None:
        if stored is not None and stored["size"] == file.size:
            digest = stored["digest"]
            if self._options.verify_files:
                digest = _digest(self._source.read(experiment, owner, file))
            if digest == stored["digest"]:
                self._ledger.file(address, file.path, file.size or 0, digest)
                return
        self._changes.add(files=1, bytes=file.size or 0)
        if self._options.dry_run:
            self._ledger.file(address, file.path, file.size or 0, "")
            return
        pieces = _Hashing(self._source.read(experiment, owner, file))
        answer = self._client.upload(f"/v1/{address}/artifacts/{quote(file.path)}", pieces, file.size)
        if answer["digest"] != pieces.digest:
            raise Conflict(f"{file.path!r} of {address} arrived damaged", hint="run the same command again")
        self._ledger.file(address, file.path, pieces.size, pieces.digest)


class _Hashing:
    """Pieces on their way, and what their digest is once they are through."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._hash = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._hash.update(piece)
            self.size += len(piece)
            yield piece

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _digest(pieces: Iterator[bytes]) -> str:
    found = _Hashing(pieces)
    for _ in found:
        pass
    return found.digest


def _batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
