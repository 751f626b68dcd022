"""An MLflow database as a source. Tables and columns that an older version does not have are simply empty."""

import math
import struct
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from mlwright.backends.mlflow.artifacts import ArtifactStore
from mlwright.backends.mlflow.registered import DELETED, model_id_of, stage_of
from mlwright.backends.mlflow.rows import Rows
from mlwright.kernel.errors import Invalid
from mlwright.registry.ports import MovedRegisteredModel, MovedVersion
from mlwright.tracking.ports import MovedExperiment, MovedFile, MovedModel, MovedRun
from mlwright.tracking.spec import (
    Dataset,
    DatasetInput,
    Metric,
    ModelOutput,
    ModelStatus,
    Param,
    RunStatus,
    Tag,
)

#: Runs that are read with one query per table.
_TOGETHER = 200
_RECORD = struct.Struct("<qqd")

_INPUTS = """
    SELECT i.destination_id, i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source,
        d.dataset_schema, d.dataset_profile
    FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id
    WHERE i.source_type = 'DATASET' AND i.destination_id IN (?)
    ORDER BY i.destination_id, d.name, d.digest
"""

Grouped = dict[str, list[tuple[Any, ...]]]


class DatabaseSource:
    """Args:
    rows: the database; it is closed with this source.
    artifacts: where the files are.
    """

    def __init__(self, rows: Rows, artifacts: ArtifactStore) -> None:
        self._rows = rows
        self._artifacts = artifacts
        self._locations: dict[str, str] = {}

    def experiments(self) -> list[MovedExperiment]:
        tags = self._by_first("experiment_tags", "experiment_id", ("key", "value"))
        found = []
        columns = ("experiment_id", "name", "lifecycle_stage", "creation_time", "last_update_time", "artifact_location")
        for number, name, stage, created, updated, location in self._select("experiments", columns, "experiment_id"):
            self._locations[str(number)] = location or ""
            pairs = sorted(tags.get(str(number), []))
            found.append(
                MovedExperiment(
                    str(number), name, stage != "deleted", created or 0, updated or created or 0,
                    [Tag(key, value or "") for key, value in pairs],
                )
            )  # fmt: skip
        return found

    def runs(self, experiment: MovedExperiment, only: Collection[str] | None = None) -> Iterator[MovedRun]:
        columns = (
            "run_uuid", "name", "user_id", "status", "start_time", "end_time", "lifecycle_stage", "artifact_uri",
        )  # fmt: skip
        where = " WHERE experiment_id = ?"
        rows = list(self._select("runs", columns, "run_uuid", where, (int(experiment.source_id),)))
        if only is not None:
            rows = [row for row in rows if row[0] in only]
        for start in range(0, len(rows), _TOGETHER):
            yield from self._runs(rows[start : start + _TOGETHER])

    def _runs(self, rows: Sequence[tuple[Any, ...]]) -> Iterator[MovedRun]:
        ids = [row[0] for row in rows]
        params = self._by_first("params", "run_uuid", ("key", "value"), ids)
        tags = self._by_first("tags", "run_uuid", ("key", "value"), ids)
        inputs = self._dataset_inputs(ids)
        models_in, models_out = self._models_of("RUN_INPUT", ids), self._models_of("RUN_OUTPUT", ids)
        for run_id, name, user, status, start, end, stage, uri in rows:
            own_tags = [Tag(key, value or "") for key, value in sorted(tags.get(run_id, []))]
            yield MovedRun(
                run_id,
                name or "",
                user or "",
                RunStatus[status or "FINISHED"],
                start or 0,
                end,
                stage != "deleted",
                uri or "",
                [Param(key, value or "") for key, value in sorted(params.get(run_id, []))],
                own_tags,
                inputs.get(run_id, []),
                sorted(model_id for model_id, _ in models_in.get(run_id, [])),
                [ModelOutput(*each) for each in sorted(models_out.get(run_id, []))],
            )

    def histories(self, experiment: MovedExperiment, run: MovedRun) -> Iterator[tuple[str, bytes]]:
        found: dict[str, bytearray] = {}
        pack, nan = _RECORD.pack, math.nan
        columns = ("key", "step", "timestamp", "value", "is_nan")
        for key, step, timestamp, value, is_nan in self._select(
            "metrics", columns, "", " WHERE run_uuid = ?", (run.run_id,)
        ):
            packed = pack(step or 0, timestamp or 0, nan if is_nan or value is None else value)
            if key in found:
                found[key] += packed
            else:
                found[key] = bytearray(packed)
        return ((key, bytes(found[key])) for key in sorted(found))

    def models(self, experiment: MovedExperiment) -> Iterator[MovedModel]:
        columns = (
            "model_id", "name", "creation_timestamp_ms", "last_updated_timestamp_ms", "status", "status_message",
            "model_type", "source_run_id", "lifecycle_stage", "artifact_location",
        )  # fmt: skip
        where = " WHERE experiment_id = ?"
        rows = list(self._select("logged_models", columns, "model_id", where, (int(experiment.source_id),)))
        ids = [row[0] for row in rows]
        params = self._by_first("logged_model_params", "model_id", ("param_key", "param_value"), ids)
        tags = self._by_first("logged_model_tags", "model_id", ("tag_key", "tag_value"), ids)
        metrics = self._model_metrics(ids)
        for model_id, name, created, updated, status, message, kind, source, stage, uri in rows:
            yield MovedModel(
                model_id,
                name,
                created,
                updated,
                _model_status(status),
                message or "",
                kind or "",
                source or "",
                stage != "deleted",
                uri or "",
                [Param(*each) for each in sorted(params.get(model_id, []))],
                [Tag(*each) for each in sorted(tags.get(model_id, []))],
                metrics.get(model_id, []),
            )

    def files(self, experiment: MovedExperiment, owner: MovedRun | MovedModel) -> Iterator[MovedFile]:
        return self._artifacts.files(self._place(experiment, owner))

    def read(self, experiment: MovedExperiment, owner: MovedRun | MovedModel, file: MovedFile) -> Iterator[bytes]:
        return self._artifacts.read(self._place(experiment, owner), file)

    def registered_models(self) -> list[MovedRegisteredModel]:
        tags = self._by_first("registered_model_tags", "name", ("key", "value"))
        aliases = self._by_first("registered_model_aliases", "name", ("alias", "version"))
        columns = ("name", "description", "creation_time", "last_updated_time")
        return [
            MovedRegisteredModel(
                name, text or "", created or 0, updated or created or 0, _texts(tags.get(name)),
                {alias: int(version) for alias, version in sorted(aliases.get(name, []))},
            )
            for name, text, created, updated in self._select("registered_models", columns, "name")
        ]  # fmt: skip

    def versions(self, model: MovedRegisteredModel) -> list[MovedVersion]:
        where, values = " WHERE name = ?", (model.name,)
        tags: Grouped = defaultdict(list)
        for number, *pair in self._select("model_version_tags", ("version", "key", "value"), "", where, values):
            tags[str(number)].append(tuple(pair))
        columns = (
            "version", "source", "storage_location", "run_id", "run_link", "description", "user_id", "current_stage",
            "creation_time", "last_updated_time",
        )  # fmt: skip
        found = []
        for row in self._select("model_versions", columns, "version", where, values):
            number, source, storage, run_id, link, text, user, stage, created, updated = row
            if stage != DELETED:
                found.append(
                    MovedVersion(
                        int(number), source or "", storage or "", run_id or "", model_id_of(source or ""), link or "",
                        text or "", user or "", stage_of(stage), created or 0, updated or created or 0,
                        _texts(tags.get(str(number))),
                    )
                )  # fmt: skip
        return found

    def close(self) -> None:
        self._rows.close()

    # --- queries -----------------------------------------------------------------------------------------------

    def _place(self, experiment: MovedExperiment, owner: MovedRun | MovedModel) -> str:
        return self._artifacts.locate(owner.artifact_uri, self._locations.get(experiment.source_id, ""))

    def _select(
        self, table: str, columns: Sequence[str], order: str = "", where: str = "", values: Sequence[Any] = ()
    ) -> Iterator[tuple[Any, ...]]:
        """Rows of a table; NULL for columns it does not have, nothing when it does not exist."""
        known = self._rows.columns(table)
        if not known:
            return iter(())
        listed = ", ".join(f'"{name}"' if name in known else "NULL" for name in columns)
        ordered = f" ORDER BY {order}" if order else ""
        return self._rows.each(f"SELECT {listed} FROM {table}{where}{ordered}", values)  # noqa: S608 - names are ours

    def _by_first(self, table: str, first: str, columns: Sequence[str], ids: Sequence[str] | None = None) -> Grouped:
        """Rows of a table by the text of one column, of all rows or of those with the ids."""
        if ids is not None and not ids:
            return {}
        where = "" if ids is None else f" WHERE {first} IN ({', '.join('?' * len(ids))})"
        found: Grouped = defaultdict(list)
        for key, *rest in self._select(table, (first, *columns), "", where, ids or ()):
            found[str(key)].append(tuple(rest))
        return found

    def _dataset_inputs(self, run_ids: Sequence[str]) -> dict[str, list[DatasetInput]]:
        if not self._rows.columns("inputs"):
            return {}
        marks = ", ".join("?" * len(run_ids))
        rows = list(self._rows.each(_INPUTS.replace("(?)", f"({marks})"), run_ids))
        tags = self._by_first("input_tags", "input_uuid", ("name", "value"), [row[1] for row in rows])
        found: dict[str, list[DatasetInput]] = defaultdict(list)
        for run_id, input_id, *content in rows:
            own = [Tag(*each) for each in sorted(tags.get(input_id, []))]
            found[run_id].append(DatasetInput(Dataset(*content), own))
        return found

    def _models_of(self, direction: str, run_ids: Sequence[str]) -> Grouped:
        """Model id and step, by run id."""
        if not self._rows.columns("inputs"):
            return {}
        where = f" WHERE source_type = '{direction}' AND source_id IN ({', '.join('?' * len(run_ids))})"
        found: Grouped = defaultdict(list)
        columns = ("source_id", "destination_id", "step")
        for run_id, model_id, step in self._select("inputs", columns, "", where, run_ids):
            found[run_id].append((model_id, step or 0))
        return found

    def _model_metrics(self, model_ids: Sequence[str]) -> dict[str, list[Metric]]:
        columns = (
            "metric_name", "metric_value", "metric_timestamp_ms", "metric_step", "dataset_name", "dataset_digest",
            "run_id",
        )  # fmt: skip
        found: dict[str, list[Metric]] = {}
        for model_id, rows in self._by_first("logged_model_metrics", "model_id", columns, model_ids).items():
            found[model_id] = [
                Metric(key, math.nan if value is None else value, at, step, model_id, name or "", digest or "", run_id)
                for key, value, at, step, name, digest, run_id in rows
            ]
        return found


def _texts(pairs: Sequence[tuple[Any, ...]] | None) -> dict[str, str]:
    return {key: value or "" for key, value in sorted(pairs or ())}


def _model_status(number: int) -> ModelStatus:
    try:
        return ModelStatus(number)
    except ValueError:
        raise Invalid(f"{number} is not a status of a logged model", path="logged_models.status") from None
