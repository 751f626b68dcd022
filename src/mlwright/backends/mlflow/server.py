"""A running MLflow server as a source, over its REST API."""

import base64
import itertools
import json
import struct
import threading
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from mlwright.backends.mlflow import registered
from mlwright.kernel.client import HttpTransport
from mlwright.kernel.errors import Denied, Invalid, NotFound, Unavailable
from mlwright.registry.ports import MovedRegisteredModel, MovedVersion
from mlwright.registry.spec import PROMPT_TAG
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

_API = "/api/2.0/mlflow"
_PAGE = 500
_POINTS = 25_000
_REGISTERED = 100
_THREADS = 4
_TIMEOUT_S = 300.0
_RECORD = struct.Struct("<qqd")
_MODEL_STATUS = {"PENDING": ModelStatus.PENDING, "READY": ModelStatus.READY, "UPLOAD_FAILED": ModelStatus.FAILED}
_OFFERED = {404, 405, 501}


class ServerSource:
    """Args:
    url: of the server; user and password may stand in it.
    token: bearer token, unless empty.
    """

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        self._headers = {"accept": "application/json"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        elif parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        host = parts.netloc.rpartition("@")[2]
        self._url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mlflow-source")
        self._keys: dict[str, list[str]] = {}
        self._models: bool | None = None

    def experiments(self) -> list[MovedExperiment]:
        found = []
        for each in self._pages("experiments/search", {"view_type": "ALL", "max_results": _PAGE}, "experiments"):
            created = int(each.get("creation_time") or 0)
            found.append(
                MovedExperiment(
                    str(each["experiment_id"]),
                    each["name"],
                    each.get("lifecycle_stage") != "deleted",
                    created,
                    int(each.get("last_update_time") or created),
                    _tags(each.get("tags")),
                )
            )
        return sorted(found, key=lambda each: int(each.source_id))

    def runs(self, experiment: MovedExperiment, only: Collection[str] | None = None) -> Iterator[MovedRun]:
        query = {
            "experiment_ids": [experiment.source_id],
            "run_view_type": "ALL",
            "max_results": _PAGE,
            "order_by": ["attributes.start_time ASC"],
        }
        found = (each for each in self._pages("runs/search", query, "runs") if only is None or _id(each) in only)
        while page := list(itertools.islice(found, _PAGE)):
            for each in self._pool.map(self._whole, page) if self._has_models() else page:
                run = _run(each)
                self._keys[run.run_id] = [metric["key"] for metric in each.get("data", {}).get("metrics", ())]
                yield run

    def _whole(self, each: Mapping[str, Any]) -> dict[str, Any]:
        """A run with the logged models it read: a search leaves them out."""
        found: dict[str, Any] = self._get(f"{_API}/runs/get", {"run_id": _id(each)})["run"]
        return found

    def _has_models(self) -> bool:
        """Whether any run can have read a logged model."""
        if self._models is None:
            self._models = any(next(self.models(each), None) for each in self.experiments())
        return self._models

    def histories(self, experiment: MovedExperiment, run: MovedRun) -> Iterator[tuple[str, bytes]]:
        keys = self._keys.pop(run.run_id, [])
        yield from zip(keys, self._pool.map(lambda key: self._history(run.run_id, key), keys), strict=True)

    def _history(self, run_id: str, key: str) -> bytes:
        found = bytearray()
        query: dict[str, Any] = {"run_id": run_id, "metric_key": key, "max_results": _POINTS}
        while True:
            page = self._get(f"{_API}/metrics/get-history", query)
            for point in page.get("metrics", ()):
                found += _RECORD.pack(int(point.get("step") or 0), int(point["timestamp"]), float(point["value"]))
            token = page.get("next_page_token")
            if not token:
                return bytes(found)
            query["page_token"] = token

    def models(self, experiment: MovedExperiment) -> Iterator[MovedModel]:
        query = {"experiment_ids": [experiment.source_id], "max_results": 50}
        try:
            for each in self._pages("logged-models/search", query, "models"):
                yield _model(each)
        except NotFound:
            return  # MLflow 2 has no logged models

    def files(self, experiment: MovedExperiment, owner: MovedRun | MovedModel) -> Iterator[MovedFile]:
        yield from self._below(owner, "")

    def _below(self, owner: MovedRun | MovedModel, folder: str) -> Iterator[MovedFile]:
        if isinstance(owner, MovedRun):
            path, query = f"{_API}/artifacts/list", {"run_id": owner.run_id, "path": folder}
        else:
            path = f"{_API}/logged-models/{owner.model_id}/artifacts/directories"
            query = {"artifact_directory_path": folder}
        found: list[dict[str, Any]] = []
        token = None
        while token != "":
            asked = {name: value for name, value in query.items() if value} | ({"page_token": token} if token else {})
            page = self._get(path, asked)
            found += page.get("files", ())
            token = page.get("next_page_token") or ""
        for each in sorted(found, key=lambda each: str(each["path"])):
            if each.get("is_dir"):
                yield from self._below(owner, each["path"])
            else:
                yield MovedFile(each["path"], int(each.get("file_size") or 0))

    def read(self, experiment: MovedExperiment, owner: MovedRun | MovedModel, file: MovedFile) -> Iterator[bytes]:
        if isinstance(owner, MovedRun):
            path = f"/get-artifact?run_id={owner.run_id}&run_uuid={owner.run_id}&path={quote(file.path, safe='')}"
        else:
            base = f"/ajax-api/2.0/mlflow/logged-models/{owner.model_id}/artifacts/files"
            path = f"{base}?artifact_file_path={quote(file.path, safe='')}"
        return self._transport().pieces(path, self._headers)

    def registered_models(self) -> list[MovedRegisteredModel]:
        found = {}
        try:
            for condition in ("", registered.PROMPTS):
                for each in self._listed("registered-models/search", condition, "registered_models"):
                    found[each["name"]] = registered.model_of(each)
        except (NotFound, Unavailable) as error:  # old servers over a folder have no registry
            raise type(error)(
                error.message, path="SOURCE", hint="leave registered models out with --no-models"
            ) from error
        return [found[name] for name in sorted(found)]

    def versions(self, model: MovedRegisteredModel) -> list[MovedVersion]:
        is_prompt = model.tags.get(PROMPT_TAG, "").lower() == "true"
        condition = registered.named(model.name) + (f" AND {registered.PROMPTS}" if is_prompt else "")
        found = list(self._listed("model-versions/search", condition, "model_versions"))
        places = itertools.repeat("") if is_prompt else self._pool.map(self._download_uri, found)
        moved = [registered.version_of(each, place) for each, place in zip(found, places, strict=False)]
        return sorted(moved, key=lambda each: each.version)

    def _download_uri(self, version: Mapping[str, Any]) -> str:
        query = {"name": version["name"], "version": version["version"]}
        found: str = self._get(f"{_API}/model-versions/get-download-uri", query).get("artifact_uri") or ""
        return found

    def close(self) -> None:
        self._pool.shutdown()

    # --- requests ----------------------------------------------------------------------------------------------

    def _transport(self) -> HttpTransport:
        """One connection for each thread."""
        found: HttpTransport | None = getattr(self._local, "transport", None)
        if found is None:
            found = self._local.transport = HttpTransport(self._url, timeout_s=_TIMEOUT_S)
        return found

    def _pages(self, path: str, query: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = self._post(f"{_API}/{path}", {**query, "page_token": token} if token else dict(query))
            yield from page.get(name, ())
            token = page.get("next_page_token") or ""
            if not token:
                return

    def _listed(self, path: str, condition: str, name: str) -> Iterator[dict[str, Any]]:
        """What the registry lists, page by page."""
        query: dict[str, Any] = {"max_results": _REGISTERED} | ({"filter": condition} if condition else {})
        while True:
            page = self._get(f"{_API}/{path}", query)
            yield from page.get(name, ())
            if not page.get("next_page_token"):
                return
            query["page_token"] = page["next_page_token"]

    def _get(self, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        return self._send("GET", f"{path}?{urlencode(query)}", None)

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._send("POST", path, json.dumps(body).encode())

    def _send(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        headers = {"content-type": "application/json", **self._headers}
        try:
            answer = self._transport().send(method, path, body, headers)
        except Unavailable as error:
            hint = "is it running, and is that its address?"
            raise Unavailable(error.message, path="SOURCE", hint=hint) from error
        text = answer.body[:300].decode(errors="replace")
        if answer.status in {401, 403}:
            raise Denied(
                f"{self._url} refuses: {text}",
                path="SOURCE",
                hint="put user and password into the URL, or a token into MLWRIGHT_SOURCE_TOKEN",
            )
        if answer.status in _OFFERED:
            raise NotFound(f"{self._url}{path.partition('?')[0]} answers {answer.status}: {text}", path="SOURCE")
        if answer.status >= 400:
            raise Unavailable(f"{self._url}{path.partition('?')[0]} answers {answer.status}: {text}", path="SOURCE")
        try:
            found: dict[str, Any] = json.loads(answer.body)
        except ValueError as error:
            raise Invalid(f"{self._url} is not an MLflow server: it answers {text!r}", path="SOURCE") from error
        return found


def _id(each: Mapping[str, Any]) -> str:
    found: str = each["info"].get("run_id") or each["info"]["run_uuid"]
    return found


def _run(each: Mapping[str, Any]) -> MovedRun:
    info, data, inputs = each["info"], each.get("data", {}), each.get("inputs") or {}
    outputs = (each.get("outputs") or {}).get("model_outputs", ())
    end = info.get("end_time")
    return MovedRun(
        _id(each),
        info.get("run_name", ""),
        info.get("user_id", ""),
        RunStatus[info.get("status", "FINISHED")],
        int(info.get("start_time") or 0),
        None if end is None else int(end),
        info.get("lifecycle_stage") != "deleted",
        info.get("artifact_uri", ""),
        _params(data.get("params")),
        _tags(data.get("tags")),
        [_input(found) for found in inputs.get("dataset_inputs", ())],
        sorted(found["model_id"] for found in inputs.get("model_inputs", ())),
        [ModelOutput(*pair) for pair in sorted((out["model_id"], int(out.get("step") or 0)) for out in outputs)],
    )


def _params(pairs: Any) -> list[Param]:
    return sorted((Param(pair["key"], pair.get("value", "")) for pair in pairs or ()), key=lambda param: param.key)


def _tags(pairs: Any) -> list[Tag]:
    return sorted((Tag(pair["key"], pair.get("value", "")) for pair in pairs or ()), key=lambda tag: tag.key)


def _input(each: Mapping[str, Any]) -> DatasetInput:
    content = each["dataset"]
    dataset = Dataset(
        content.get("name", ""),
        content.get("digest", ""),
        content.get("source_type", ""),
        content.get("source", ""),
        content.get("schema"),
        content.get("profile"),
    )
    return DatasetInput(dataset, _tags(each.get("tags")))


def _model(each: Mapping[str, Any]) -> MovedModel:
    info, data = each["info"], each.get("data") or {}
    return MovedModel(
        info["model_id"],
        info.get("name", ""),
        int(info.get("creation_timestamp_ms") or 0),
        int(info.get("last_updated_timestamp_ms") or 0),
        _MODEL_STATUS.get(info.get("status", "").removeprefix("LOGGED_MODEL_"), ModelStatus.READY),
        info.get("status_message", ""),
        info.get("model_type", ""),
        info.get("source_run_id", ""),
        True,
        info.get("artifact_uri", ""),
        _params(data.get("params")),
        _tags(info.get("tags")),
        [_metric(point, info["model_id"]) for point in data.get("metrics", ())],
    )


def _metric(point: Mapping[str, Any], model_id: str) -> Metric:
    return Metric(
        point["key"],
        float(point["value"]),
        int(point["timestamp"]),
        int(point.get("step") or 0),
        model_id,
        point.get("dataset_name") or "",
        point.get("dataset_digest") or "",
        point.get("run_id") or "",
    )
