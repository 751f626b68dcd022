"""What was registered cannot be changed through any route, and is not collected as garbage."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlwright.app.gc import GarbageCollector
from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.kernel.identity import LOCAL
from mlwright.registry.service import models
from tests.unit.registry.registered import ARTIFACTS, FILES, MLFLOW, Registered


@pytest.fixture
def registered(data_dir: Path) -> Iterator[Registered]:
    platform = Platform(Settings(data=data_dir))
    yield Registered(platform)
    platform.close()


def upload(registered: Registered, folder: str) -> str:
    """The id of a multipart upload that would end in the folder, begun elsewhere."""
    body = json.dumps({"path": "MLmodel", "num_parts": 1}).encode()
    found: str = registered.ask("POST", f"{ARTIFACTS}/mpu/create/{registered.folder}", body).json["upload_id"]
    assert registered.ask("PUT", f"{ARTIFACTS}/mpu/part/{found}/1", b"changed").status == 200
    return found


REQUESTS = [
    ("PUT", "artifacts/{folder}/MLmodel", b"changed"),
    ("PUT", "artifacts/{folder}/MLmodel", b"c" * 50_000),
    ("PUT", "artifacts/{folder}/more", b"more"),
    ("PUT", "artifacts/registry/1/7/MLmodel", b"planted"),
    ("PUT", "artifacts/./{folder}/MLmodel", b"changed"),
    ("DELETE", "artifacts/{folder}/MLmodel", b""),
    ("DELETE", "artifacts/{folder}/data", b""),
    ("DELETE", "artifacts/{folder}", b""),
    ("DELETE", "artifacts/registry/1", b""),
    ("POST", "mpu/create/{folder}", b'{"path": "MLmodel", "num_parts": 1}'),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
def test_every_way_to_change_it_is_refused(registered: Registered, method: str, path: str, body: bytes) -> None:
    folder = registered.register()
    answer = registered.ask(method, f"{ARTIFACTS}/{path.replace('{folder}', folder)}", body)
    assert (answer.status, answer.json["error_code"]) == (409, "INVALID_STATE"), answer.body
    assert registered.files(folder) == FILES


def test_the_root_of_pinned_files_belongs_to_nobody(registered: Registered) -> None:
    folder = registered.register()
    for path in ("registry", "registry/", "registry/x/1/a"):
        assert registered.ask("DELETE", f"{ARTIFACTS}/artifacts/{path}").status == 404
    assert registered.files(folder) == FILES


def test_an_upload_cannot_end_in_a_version(registered: Registered) -> None:
    folder = registered.register()
    message = {"path": "MLmodel", "upload_id": upload(registered, folder), "parts": [{"part_number": 1}]}
    answer = registered.ask("POST", f"{ARTIFACTS}/mpu/complete/{folder}", json.dumps(message).encode())
    assert answer.status == 400
    assert registered.files(folder) == FILES


def test_what_happens_to_the_run_does_not_matter(registered: Registered, data_dir: Path) -> None:
    folder = registered.register()
    registered.ask("PUT", f"{ARTIFACTS}/artifacts/{registered.folder}/MLmodel", b"overwritten")
    direct = f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={registered.run_id}&path=model/MLmodel"
    assert registered.ask("POST", direct, b"overwritten again").status == 200
    ours = f"/v1/runs/{registered.run_id}/artifacts/model/data"
    assert registered.ask("DELETE", ours).status == 204
    registered.post("runs/delete", {"run_id": registered.run_id})
    for path in (data_dir / "blobs").rglob("*"):
        os.utime(path, (1, 1))
    collected = asyncio.run(
        GarbageCollector(
            registered.platform.database, registered.platform.blobs, registered.platform.environments
        ).collect(LOCAL, -1)
    )
    assert collected.runs == 1
    assert registered.files(folder) == FILES


def test_deleting_the_version_frees_its_bytes(registered: Registered, data_dir: Path) -> None:
    folder = registered.register()
    registered.ask("DELETE", f"{ARTIFACTS}/artifacts/{registered.folder}")
    for path in (data_dir / "blobs").rglob("*"):
        os.utime(path, (1, 1))
    collector = GarbageCollector(
        registered.platform.database, registered.platform.blobs, registered.platform.environments
    )
    assert asyncio.run(collector.collect(LOCAL, 0)).blobs == 0
    one = json.dumps({"name": "tree", "version": "1"}).encode()
    assert registered.ask("DELETE", f"{MLFLOW}/model-versions/delete", one).status == 200
    assert asyncio.run(collector.collect(LOCAL, 0)).blobs == len(FILES)
    assert registered.ask("GET", f"{ARTIFACTS}/artifacts/{folder}/MLmodel").status == 404


def test_large_descriptions_are_read_from_the_store(registered: Registered) -> None:
    text = FILES["MLmodel"] + b"\n# " + b"c" * 100_000
    registered.ask("PUT", f"{ARTIFACTS}/artifacts/{registered.folder}/MLmodel", text)
    registered.register()
    facts = registered.ask("GET", "/v1/models/tree/versions/1").json["facts"]
    assert facts["flavors"] == {"sklearn": "1.8.0"}
    registered.ask("PUT", f"{ARTIFACTS}/artifacts/{registered.folder}/MLmodel", b"#" * (1 << 20) + b"\na: 1")
    registered.register()
    assert "larger than" in registered.ask("GET", "/v1/models/tree/versions/2").json["facts"]["problem"]


def test_files_of_versions_are_shown_and_listed(registered: Registered) -> None:
    folder = registered.register()
    query = "name=tree&version=1&path=MLmodel"
    for route in ("/model-versions/get-artifact", "/ajax-api/2.0/mlflow/model-versions/get-artifact"):
        assert registered.ask("GET", f"{route}?{query}").body == FILES["MLmodel"]
    assert registered.ask("GET", "/model-versions/get-artifact?name=tree&version=1&path=../x").status == 400
    listed = registered.ask("GET", f"{ARTIFACTS}/artifacts?path={folder}").json["files"]
    assert [each["path"] for each in listed] == ["MLmodel", "data"]


def test_mlflows_pages_find_the_versions_of_a_run(registered: Registered) -> None:
    registered.register()
    fields = "modelVersions {name version source status aliases tags {key}}"
    query = f'{{mlflowGetRun(input: {{runId: "{registered.run_id}"}}) {{run {{{fields}}}}}'
    query += f" mlflowSearchModelVersions(input: {{filter: \"name = 'tree'\"}}) {{{fields}}}}}"
    data = registered.ask("POST", "/graphql", json.dumps({"query": query}).encode()).json["data"]
    source = f"mlflow-artifacts:/{registered.folder}"
    version = {"name": "tree", "version": "1", "source": source, "status": "READY", "aliases": [], "tags": []}
    assert data["mlflowGetRun"]["run"]["modelVersions"] == [version]
    assert data["mlflowSearchModelVersions"]["modelVersions"] == [version]


def test_a_project_with_models_is_not_deleted(registered: Registered) -> None:
    manifest = {
        "apiVersion": "mlwright.dev/v1", "kind": "Project", "metadata": {"name": "new"}, "spec": {"description": "x"},
    }  # fmt: skip
    assert registered.ask("POST", "/v1/resources", json.dumps(manifest).encode()).status < 300
    database = registered.platform.database
    database.write_now(lambda tx: models.create(tx, LOCAL, "kept", project="new"))
    refused = registered.ask("DELETE", "/v1/resources/project/new")
    assert (refused.status, "1 registered model" in refused.json["detail"]) == (409, True)
    database.write_now(lambda tx: models.delete_model(tx, LOCAL, "kept", "new"))
    assert registered.ask("DELETE", "/v1/resources/project/new").status < 300
