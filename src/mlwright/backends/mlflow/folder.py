"""An mlruns folder (MLflow's file store) as a source."""

import struct
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from mlwright.backends.mlflow.artifacts import ArtifactStore
from mlwright.backends.mlflow.registered import DELETED, stage_of
from mlwright.kernel.errors import Invalid, NotFound, Unavailable
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

_META = "meta.yaml"
_TRASH = ".trash"
_MODELS = "models"
_VERSION = "version-"
_RUN_ID_DIGITS = 32
_RECORD = struct.Struct("<qqd")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class FolderSource:
    """Args:
    root: the mlruns folder.
    artifacts: where files are that do not lie in it.
    """

    def __init__(self, root: Path, artifacts: ArtifactStore) -> None:
        self._root = root
        self._artifacts = artifacts
        self._folders: dict[str, Path] = {}
        self._locations: dict[str, str] = {}
        self._models: dict[str, Path] = {}
        if not any(self._experiment_folders()):
            raise NotFound(
                f"{root} holds no experiments", path="SOURCE", hint="an mlruns folder has folders with meta.yaml in it"
            )

    def experiments(self) -> list[MovedExperiment]:
        found = []
        for folder in self._experiment_folders():
            meta = _meta(folder)
            number = str(meta.get("experiment_id", folder.name))
            self._folders[number] = folder
            self._locations[number] = str(meta.get("artifact_location") or "")
            created = int(meta.get("creation_time") or 0)
            found.append(
                MovedExperiment(
                    number,
                    str(meta.get("name") or folder.name),
                    folder.parent.name != _TRASH and meta.get("lifecycle_stage") != "deleted",
                    created,
                    int(meta.get("last_update_time") or created),
                    [Tag(key, value) for key, value in _texts(folder / "tags")],
                )
            )
        return found

    def runs(self, experiment: MovedExperiment, only: Collection[str] | None = None) -> Iterator[MovedRun]:
        datasets: dict[str, Dataset] = {}
        for folder in self._run_folders(experiment):
            if only is None or folder.name in only:
                yield _run(folder, datasets)

    def histories(self, experiment: MovedExperiment, run: MovedRun) -> Iterator[tuple[str, bytes]]:
        folder = self._folders[experiment.source_id] / run.run_id / "metrics"
        for key, text in _texts(folder):
            records = [_point(line.split(), f"{folder}/{key}") for line in text.splitlines() if line.strip()]
            yield key, b"".join(records)

    def models(self, experiment: MovedExperiment) -> Iterator[MovedModel]:
        folders = self._folders[experiment.source_id] / "models"
        for folder in _subfolders(folders):
            if (folder / _META).is_file():
                yield _model(folder)

    def files(self, experiment: MovedExperiment, owner: MovedRun | MovedModel) -> Iterator[MovedFile]:
        return self._artifacts.files(self._place(experiment, owner))

    def read(self, experiment: MovedExperiment, owner: MovedRun | MovedModel, file: MovedFile) -> Iterator[bytes]:
        return self._artifacts.read(self._place(experiment, owner), file)

    def registered_models(self) -> list[MovedRegisteredModel]:
        found = []
        for folder in _subfolders(self._root / _MODELS):
            if (folder / _META).is_file():
                found.append(_registered_model(folder))
                self._models[found[-1].name] = folder
        return found

    def versions(self, model: MovedRegisteredModel) -> list[MovedVersion]:
        folders = [
            folder
            for folder in _subfolders(self._models[model.name])
            if folder.name.startswith(_VERSION) and (folder / _META).is_file()
        ]
        found = [
            _version(folder, meta) for folder in folders if (meta := _meta(folder)).get("current_stage") != DELETED
        ]
        return sorted(found, key=lambda each: each.version)

    def close(self) -> None:
        """Nothing is held open."""

    def _place(self, experiment: MovedExperiment, owner: MovedRun | MovedModel) -> str:
        """The folder's own `artifacts` first: the folder may have been copied since its paths were recorded."""
        name = owner.run_id if isinstance(owner, MovedRun) else f"models/{owner.model_id}"
        own = self._folders[experiment.source_id] / name / "artifacts"
        if own.is_dir() and any(own.iterdir()):
            return str(own)
        return self._artifacts.locate(owner.artifact_uri, self._locations.get(experiment.source_id, ""))

    def _experiment_folders(self) -> list[Path]:
        places = [*_subfolders(self._root), *_subfolders(self._root / _TRASH)]
        return [folder for folder in places if folder.name != _TRASH and (folder / _META).is_file()]

    def _run_folders(self, experiment: MovedExperiment) -> list[Path]:
        folders = _subfolders(self._folders[experiment.source_id])
        return [folder for folder in folders if len(folder.name) == _RUN_ID_DIGITS and (folder / _META).is_file()]


def _run(folder: Path, datasets: dict[str, Dataset]) -> MovedRun:
    meta = _meta(folder)
    inputs, model_inputs = _inputs(folder, datasets)
    return MovedRun(
        folder.name,
        str(meta.get("run_name") or ""),
        str(meta.get("user_id") or ""),
        RunStatus(int(meta.get("status") or RunStatus.FINISHED)),
        int(meta.get("start_time") or 0),
        None if meta.get("end_time") is None else int(meta["end_time"]),
        meta.get("lifecycle_stage") != "deleted",
        str(meta.get("artifact_uri") or ""),
        [Param(key, value) for key, value in _texts(folder / "params")],
        [Tag(key, value) for key, value in _texts(folder / "tags")],
        inputs,
        model_inputs,
        _outputs(folder),
    )


def _inputs(folder: Path, datasets: dict[str, Dataset]) -> tuple[list[DatasetInput], list[str]]:
    inputs: list[DatasetInput] = []
    models: list[str] = []
    for each in _subfolders(folder / "inputs"):
        meta = _meta(each)
        source = str(meta.get("source_id", ""))
        if meta.get("source_type") == "MODEL":
            models.append(source)
            continue
        path = folder.parent / "datasets" / source
        if source not in datasets and (path / _META).is_file():
            datasets[source] = _dataset(_meta(path))
        if source in datasets:
            tags = sorted((str(key), str(value)) for key, value in dict(meta.get("tags") or {}).items())
            inputs.append(DatasetInput(datasets[source], [Tag(key, value) for key, value in tags]))
    return inputs, sorted(models)


def _outputs(folder: Path) -> list[ModelOutput]:
    return [ModelOutput(each.name, int(_meta(each).get("step") or 0)) for each in _subfolders(folder / "outputs")]


def _dataset(meta: Mapping[str, Any]) -> Dataset:
    schema, profile = meta.get("schema"), meta.get("profile")
    return Dataset(
        str(meta.get("name") or ""),
        str(meta.get("digest") or ""),
        str(meta.get("source_type") or ""),
        str(meta.get("source") or ""),
        None if schema is None else str(schema),
        None if profile is None else str(profile),
    )


def _model(folder: Path) -> MovedModel:
    meta = _meta(folder)
    created = int(meta.get("creation_timestamp") or 0)
    metrics = [
        _model_metric(folder.name, key, line.split())
        for key, text in _texts(folder / "metrics")
        for line in text.splitlines()
        if line.strip()
    ]
    return MovedModel(
        folder.name,
        str(meta.get("name") or folder.name),
        created,
        int(meta.get("last_updated_timestamp") or created),
        ModelStatus(int(meta.get("status") or ModelStatus.READY)),
        str(meta.get("status_message") or ""),
        str(meta.get("model_type") or ""),
        str(meta.get("source_run_id") or ""),
        meta.get("lifecycle_stage") != "deleted",
        str(meta.get("artifact_location") or ""),
        [Param(key, value) for key, value in _texts(folder / "params")],
        [Tag(key, value) for key, value in _texts(folder / "tags")],
        metrics,
    )


def _registered_model(folder: Path) -> MovedRegisteredModel:
    meta = _meta(folder)
    created = int(meta.get("creation_timestamp") or 0)
    return MovedRegisteredModel(
        str(meta.get("name") or folder.name),
        str(meta.get("description") or ""),
        created,
        int(meta.get("last_updated_timestamp") or created),
        dict(_texts(folder / "tags")),
        {alias: _number(text, f"{folder}/aliases/{alias}") for alias, text in _texts(folder / "aliases")},
    )


def _version(folder: Path, meta: Mapping[str, Any]) -> MovedVersion:
    created = int(meta.get("creation_timestamp") or 0)
    return MovedVersion(
        _number(folder.name.removeprefix(_VERSION), str(folder)),
        str(meta.get("source") or ""),
        str(meta.get("storage_location") or ""),
        str(meta.get("run_id") or ""),
        str(meta.get("model_id") or ""),
        str(meta.get("run_link") or ""),
        str(meta.get("description") or ""),
        str(meta.get("user_id") or ""),
        stage_of(meta.get("current_stage")),
        created,
        int(meta.get("last_updated_timestamp") or created),
        dict(_texts(folder / "tags")),
    )


def _number(text: str, where: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise Invalid(f"{text!r} is not the number of a version", path=where) from error


def _point(words: list[str], where: str) -> bytes:
    """A line "time value [step [dataset digest]]" as a packed record."""
    try:
        return _RECORD.pack(int(words[2]) if len(words) > 2 else 0, int(words[0]), float(words[1]))
    except (ValueError, IndexError, struct.error) as error:
        raise Invalid(f"the line {' '.join(words)!r} is not a point of a metric", path=where) from error


def _model_metric(model_id: str, key: str, words: list[str]) -> Metric:
    """A line "time value step run [dataset digest]"."""
    try:
        name, digest = (words[4], words[5]) if len(words) > 5 else ("", "")
        return Metric(key, float(words[1]), int(words[0]), int(words[2]), model_id, name, digest, words[3])
    except (ValueError, IndexError) as error:
        raise Invalid(f"the line {' '.join(words)!r} is not a point of a model's metric", path=key) from error


def _subfolders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    """All files below a folder by name; a name with a slash is a file in a folder."""
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes().decode(errors="replace")


def _meta(folder: Path) -> dict[str, Any]:
    path = folder / _META
    try:
        found = yaml.load(path.read_bytes(), Loader=_LOADER)  # noqa: S506 - a safe loader
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    except yaml.YAMLError as error:
        raise Invalid(f"{path} is not YAML: {error}", path=str(path)) from error
    if not isinstance(found, dict):
        raise Invalid(f"{path} holds no description", path=str(path))
    return found
