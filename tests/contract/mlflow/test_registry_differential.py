"""MLflow's registry protocol, call by call: mlwright answers as a real MLflow server does, errors included."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.contract.mlflow.pair import Pair

pytestmark = pytest.mark.xdist_group("mlflow-protocol")
RUN, NAME = "{run:a}", "{model}"
SOURCE = "mlflow-artifacts:/{exp}/{run:a}/artifacts/model"
MODELS, VERSIONS = "registered-models", "model-versions"


@pytest.fixture
def both(pair: Pair) -> Pair:
    """Both servers with a registered model "model" of the same name."""
    name = f"model-{uuid.uuid4().hex[:12]}"
    pair.label("model", name, name)
    pair.label("other", f"{name}-2", f"{name}-2")
    pair.call("POST", f"{MODELS}/create", {"name": NAME, "description": "d", "tags": [{"key": "a", "value": "1"}]})
    return pair


def add_version(both: Pair, **message: Any) -> None:
    both.call("POST", f"{VERSIONS}/create", {"name": NAME, "source": SOURCE, "run_id": RUN, **message})


def look(both: Pair, *versions: int) -> None:
    """Everything that can be seen of the model."""
    both.call("GET", f"{MODELS}/get", {"name": NAME})
    both.call("GET", f"{MODELS}/get-latest-versions", {"name": NAME})
    both.call("GET", f"{MODELS}/search", {"filter": f"name = '{NAME}'"})
    both.call("GET", f"{VERSIONS}/search", {"filter": f"name = '{NAME}'", "order_by": ["version_number ASC"]})
    for version in versions:
        both.call("GET", f"{VERSIONS}/get", {"name": NAME, "version": str(version)})


def test_a_model_from_first_to_last(both: Pair) -> None:
    both.call("POST", f"{MODELS}/create", {"name": NAME})
    look(both)
    both.call("POST", f"{MODELS}/set-tag", {"name": NAME, "key": "team", "value": "blue"})
    both.call("POST", f"{MODELS}/set-tag", {"name": NAME, "key": "team", "value": "red"})
    both.call("POST", f"{MODELS}/set-tag", {"name": NAME, "key": "empty"})
    both.call("DELETE", f"{MODELS}/delete-tag", {"name": NAME, "key": "a"})
    both.call("DELETE", f"{MODELS}/delete-tag", {"name": NAME, "key": "a"})
    both.call("PATCH", f"{MODELS}/update", {"name": NAME, "description": "better"})
    add_version(both)
    look(both, 1)
    both.call("POST", f"{MODELS}/rename", {"name": NAME, "new_name": "{other}"})
    look(both, 1)
    both.call("POST", f"{MODELS}/rename", {"name": "{other}", "new_name": NAME})
    both.call("POST", f"{MODELS}/rename", {"name": NAME, "new_name": NAME})
    look(both, 1)
    both.call("PATCH", f"{MODELS}/update", {"name": NAME})
    both.call("DELETE", f"{MODELS}/delete", {"name": NAME})
    look(both, 1)
    both.call("DELETE", f"{MODELS}/delete", {"name": NAME})
    both.call("POST", f"{MODELS}/create", {"name": NAME})
    add_version(both)
    look(both, 1)


def test_versions(both: Pair) -> None:
    add_version(both, description="first", tags=[{"key": "k", "value": "v"}, {"key": "k", "value": "w"}])
    add_version(both, run_link="https://example.org/run")
    one = {"name": NAME, "version": "1"}
    look(both, 1, 2, 3)
    both.call("POST", f"{VERSIONS}/set-tag", {**one, "key": "t", "value": "x"})
    both.call("POST", f"{VERSIONS}/set-tag", {**one, "key": "t", "value": "y"})
    both.call("DELETE", f"{VERSIONS}/delete-tag", {**one, "key": "k"})
    both.call("DELETE", f"{VERSIONS}/delete-tag", {**one, "key": "k"})
    both.call("PATCH", f"{VERSIONS}/update", {**one, "description": "changed"})
    look(both, 1)
    both.call("PATCH", f"{VERSIONS}/update", one)
    look(both, 1)
    both.call("DELETE", f"{VERSIONS}/delete", {"name": NAME, "version": "2"})
    both.call("DELETE", f"{VERSIONS}/delete", {"name": NAME, "version": "2"})
    look(both, 1, 2)
    add_version(both)
    look(both, 3)


def test_aliases(both: Pair) -> None:
    add_version(both)
    add_version(both)
    where = f"{MODELS}/alias"
    both.call("GET", where, {"name": NAME, "alias": "champion"})
    both.call("POST", where, {"name": NAME, "alias": "champion", "version": "1"})
    both.call("POST", where, {"name": NAME, "alias": "challenger", "version": "1"})
    look(both, 1, 2)
    both.call("POST", where, {"name": NAME, "alias": "champion", "version": "2"})
    both.call("GET", where, {"name": NAME, "alias": "champion"})
    both.call("GET", where, {"name": NAME, "alias": "Latest"})
    both.call("DELETE", where, {"name": NAME, "alias": "challenger"})
    both.call("DELETE", where, {"name": NAME, "alias": "challenger"})
    look(both, 1, 2)
    both.call("DELETE", f"{VERSIONS}/delete", {"name": NAME, "version": "2"})
    both.call("GET", where, {"name": NAME, "alias": "champion"})
    look(both, 1)
    for alias in ("latest", "LATEST", "v1", "V22", "", "a b", "x" * 256, "é", "v1a"):
        both.call("POST", where, {"name": NAME, "alias": alias, "version": "1"})
    for version in ("9", "x", "", "1.0"):
        both.call("POST", where, {"name": NAME, "alias": "a", "version": version})


def test_stages(both: Pair) -> None:
    for _ in range(4):
        add_version(both)

    def move(version: str, stage: str, **more: Any) -> None:
        message = {"name": NAME, "version": version, "stage": stage, **more}
        both.call("POST", f"{VERSIONS}/transition-stage", message)
        look(both)

    move("1", "Production")
    move("2", "production")
    move("3", "Production", archive_existing_versions=True)
    move("4", "STAGING", archive_existing_versions=True)
    move("4", "None")
    move("2", "Archived")
    move("9", "Staging", archive_existing_versions=True)
    move("1", "shelf")
    both.call("GET", f"{MODELS}/get-latest-versions", {"name": NAME, "stages": ["Production", "archived"]})
    both.call("POST", f"{MODELS}/get-latest-versions", {"name": NAME, "stages": ["Staging"]})
    both.call("POST", f"{MODELS}/get-latest-versions", {"name": NAME, "stages": ["shelf"]})


def test_logged_models_and_copies(both: Pair) -> None:
    logged = {"experiment_id": "{exp}", "name": "tree", "source_run_id": RUN, "model_type": "classifier"}
    both.call("POST", "logged-models", logged, learn={"logged": "model.info.model_id"})
    both.call("POST", f"{VERSIONS}/create", {"name": NAME, "source": "models:/{logged}", "model_id": "{logged}"})
    both.call("POST", f"{VERSIONS}/create", {"name": NAME, "source": "models:/{logged}"})
    both.call("POST", f"{VERSIONS}/create", {"name": NAME, "source": "models:/{logged}", "run_id": RUN})
    inside = "mlflow-artifacts:/{exp}/models/{logged}/artifacts"
    both.call("POST", f"{VERSIONS}/create", {"name": NAME, "source": inside, "model_id": "{logged}"})
    both.call("GET", "logged-models/{logged}")
    both.call("POST", f"{MODELS}/create", {"name": "{other}"})
    both.call("POST", f"{MODELS}/alias", {"name": NAME, "alias": "best", "version": "1"})
    both.call("POST", f"{VERSIONS}/transition-stage", {"name": NAME, "version": "2", "stage": "Staging"})
    for suffix in ("/1", "@best", "/latest", "/Staging", "/7", "@worst", "/1/2", "", "@"):
        both.call("POST", f"{VERSIONS}/create", {"name": "{other}", "source": f"models:/{NAME}{suffix}"})
    both.call("POST", f"{VERSIONS}/create", {"name": "{other}", "source": f"models:/{NAME}/1", "run_id": "0" * 32})
    both.call("POST", f"{VERSIONS}/create", {"name": "{other}", "source": f"models://host/{NAME}/1"})
    both.call("GET", f"{VERSIONS}/search", {"filter": "name = '{other}'", "order_by": ["version_number"]})
    both.call("GET", "logged-models/{logged}")


@pytest.mark.parametrize(
    "source",
    [
        "s3://bucket/model", "s3://bucket", "s3://bucket/a/../b", "s3://bucket/a//b", "s3://bucket/%2e%2e/x",
        "gs://bucket/a/./b", "dbfs:/model", "/tmp/model", "file:///tmp/model", "runs:/{run:a}/model",
        "runs:/0123/model", "runs://x/{run:a}/model", "mlflow-artifacts:/{exp}/other/artifacts/model",
        "mlflow-artifacts:/{exp}/{run:a}/artifacts", "mlflow-artifacts:/{exp}/{run:a}/artifacts/../../x",
        "mlflow-artifacts:/{exp}/{run:a}/artifacts%2fmodel", "mlflow-artifacts:/{exp}/{run:a}/artifacts2",
        "models:/nothing/1", "models:/nothing@a", "models:/a:b/1",
        "s3://bucket/a%00b", "mlflow-artifacts:/{exp}/{run:a}/artifacts/a b",
    ],
)  # fmt: skip
def test_sources(both: Pair, source: str) -> None:
    both.call("POST", f"{VERSIONS}/create", {"name": NAME, "source": source})
    both.call("POST", f"{VERSIONS}/create", {"name": NAME, "source": source, "run_id": RUN})
    both.call("POST", f"{VERSIONS}/create", {"name": NAME, "source": source, "run_id": "0" * 32})
    both.call("POST", f"{VERSIONS}/create", {"name": NAME, "source": source, "model_id": "m-" + "0" * 32})
    look(both)


@pytest.mark.parametrize("source", ["ftp://host/model", "https://host/model", "mlflow-artifacts://host/1/model"])
def test_sources_on_hosts_are_refused(both: Pair, source: str) -> None:
    """MLflow goes on to say how to allow them; here nothing allows them."""
    ours = both.call("POST", f"{VERSIONS}/create", {"name": NAME, "source": source, "run_id": RUN}, compare=False)
    assert "scheme addresses a host other than" in ours["message"]


@pytest.mark.parametrize(
    "message",
    [
        {"source": "models:/{model}/Production"},
        {"source": "models:/m-" + "0" * 32, "model_id": "m-" + "0" * 32},
        {"source": "file://example.org/x"},
        {"source": "model", "run_id": RUN},
    ],
)
def test_whose_fault_it_is(both: Pair, message: dict[str, str]) -> None:
    """MLflow calls these an error of its own, or shows its working directory."""
    ours = both.call("POST", f"{VERSIONS}/create", {"name": NAME, **message}, compare=False)
    assert ours["error_code"] in {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"}
    both.call("GET", f"{VERSIONS}/search", {"filter": f"name = '{NAME}'"})


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        *(("POST", f"{MODELS}/create", {"name": name}) for name in ("", " ", "a/b", "a:b", ".", "..", "a/../b", 5)),
        ("POST", f"{MODELS}/create", {}),
        ("POST", f"{MODELS}/create", {"name": "x", "tags": [{"key": "a//b", "value": "1"}]}),
        ("POST", f"{MODELS}/create", {"name": "x", "tags": [{"key": "k" * 251, "value": "1"}]}),
        ("POST", f"{MODELS}/create", {"name": "x", "tags": [{"key": "k", "value": "v" * 100_001}]}),
        ("GET", f"{MODELS}/get", {}),
        ("GET", f"{MODELS}/get", {"name": "no such model"}),
        ("GET", f"{MODELS}/get", {"name": "a/b"}),
        ("PATCH", f"{MODELS}/update", {"name": "no such model", "description": "x"}),
        ("POST", f"{MODELS}/rename", {"name": NAME}),
        ("POST", f"{MODELS}/rename", {"name": NAME, "new_name": "a/b"}),
        ("POST", f"{MODELS}/rename", {"name": "no such model", "new_name": "x"}),
        ("DELETE", f"{MODELS}/delete", {}),
        ("POST", f"{MODELS}/set-tag", {"name": NAME, "value": "1"}),
        ("POST", f"{MODELS}/set-tag", {"name": "no such model", "key": "a", "value": "1"}),
        ("DELETE", f"{MODELS}/delete-tag", {"name": "no such model", "key": "a"}),
        ("DELETE", f"{MODELS}/delete-tag", {"name": NAME, "key": "a//b"}),
        ("GET", f"{MODELS}/get-latest-versions", {"name": "no such model"}),
        ("GET", f"{MODELS}/alias", {"name": "no such model", "alias": "a"}),
        ("GET", f"{MODELS}/alias", {"name": NAME, "alias": "latest"}),
        ("GET", f"{MODELS}/alias", {"name": NAME}),
        ("GET", f"{MODELS}/search", {"max_results": 1_001}),
        ("GET", f"{MODELS}/search", {"max_results": "many"}),
        ("GET", f"{MODELS}/search", {"page_token": "garbage"}),
        ("GET", f"{MODELS}/search", {"order_by": ["size"]}),
        ("GET", f"{MODELS}/search", {"filter": "name > 'a'"}),
        ("POST", f"{VERSIONS}/create", {"name": NAME}),
        ("POST", f"{VERSIONS}/create", {"source": "s3://a/b"}),
        ("POST", f"{VERSIONS}/create", {"name": "no such model", "source": "s3://a/b"}),
        ("POST", f"{VERSIONS}/create", {"name": NAME, "source": "s3://a/b", "tags": [{"key": "a//b", "value": ""}]}),
        ("GET", f"{VERSIONS}/get", {"name": NAME, "version": "1"}),
        ("GET", f"{VERSIONS}/get", {"name": NAME, "version": "one"}),
        ("GET", f"{VERSIONS}/get", {"name": "no such model", "version": "1"}),
        ("GET", f"{VERSIONS}/get", {"name": NAME}),
        ("GET", f"{VERSIONS}/get-download-uri", {"name": NAME, "version": "1"}),
        ("PATCH", f"{VERSIONS}/update", {"name": NAME, "version": "1", "description": "x"}),
        ("DELETE", f"{VERSIONS}/delete", {"name": NAME, "version": "1"}),
        ("POST", f"{VERSIONS}/set-tag", {"name": NAME, "version": "1", "key": "k", "value": "v"}),
        ("POST", f"{VERSIONS}/set-tag", {"name": NAME, "version": "x", "key": "k", "value": "v"}),
        ("DELETE", f"{VERSIONS}/delete-tag", {"name": NAME, "version": "1", "key": "k"}),
        ("POST", f"{VERSIONS}/transition-stage", {"name": NAME, "version": "1", "stage": "Staging"}),
        ("POST", f"{VERSIONS}/transition-stage", {"name": NAME, "version": "1"}),
        ("GET", f"{VERSIONS}/search", {"max_results": 0}),
        ("GET", f"{VERSIONS}/search", {"max_results": 200_001}),
        ("GET", f"{VERSIONS}/search", {"order_by": ["run_id"]}),
        ("GET", f"{VERSIONS}/search", {"filter": "version_number = 'x'"}),
        ("GET", f"{VERSIONS}/search", {"filter": "stage = 'None'"}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_refusals(both: Pair, method: str, path: str, message: dict[str, Any]) -> None:
    both.call(method, path, message)


def test_prompts_are_kept_apart(both: Pair) -> None:
    prompt, text = {"key": "mlflow.prompt.is_prompt", "value": "true"}, {"key": "mlflow.prompt.text", "value": "Hi"}
    both.call("POST", f"{MODELS}/create", {"name": "{other}", "tags": [prompt]})
    both.call("POST", f"{MODELS}/create", {"name": "{other}", "tags": [prompt]})
    both.call("POST", f"{MODELS}/create", {"name": "{other}"})
    both.call("POST", f"{MODELS}/create", {"name": NAME, "tags": [prompt]})
    for source in ("dummy-source", "s3://a/b"):
        both.call("POST", f"{VERSIONS}/create", {"name": "{other}", "source": source, "tags": [prompt, text]})
    both.call("POST", f"{VERSIONS}/create", {"name": NAME, "source": "models:/{other}/1"})
    add_version(both)
    for kind in (MODELS, VERSIONS):
        for tag in ("", " AND tags.`mlflow.prompt.is_prompt` = 'true'", " AND tag.`mlflow.prompt.is_prompt` != 'true'"):
            both.call("GET", f"{kind}/search", {"filter": f"name LIKE '{NAME}%'{tag}"})
