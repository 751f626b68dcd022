"""Unmodified MLflow clients, old and new, against mlwright: the fluent API, autologging, models, artifacts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.components import mlflow_environment, mlflow_python

pytestmark = pytest.mark.xdist_group("mlflow-protocol")
STORY = Path(__file__).with_name("client_story.py")
REGISTRY_STORY = Path(__file__).with_name("registry_story.py")
#: What the story finds about webhooks.
WEBHOOKS = {
    "created": ["ci", "ACTIVE", ["model_version.created", "prompt.created"]],
    "updated": ["cd", "DISABLED", ["model_version_tag.set"], "d"],
    "same": True,
    "listed": True,
    "tested": [False, True],
    "left": [],
}
#: Autologging is the client's own work; every flavor with one client, and one flavor with every client, is enough.
FLAVORS = {"2.22": ["sklearn"], "3.17.2": ["sklearn", "xgboost", "lightgbm"], "3.18": ["sklearn"]}


@pytest.mark.parametrize("version", FLAVORS)
def test_a_users_day(version: str, mlwright_url: str, tmp_path: Path) -> None:
    facts = _run(STORY, version, mlwright_url, tmp_path, *FLAVORS[version])
    assert facts["history"] == [[step, pytest.approx(1 / (step + 1))] for step in range(20)]
    assert facts["searched"] == [facts["run_id"]]
    assert {"many/0.bin", "many/4.bin", "notes/空 白.txt", "tables/a.json"} <= set(facts["files"])
    assert facts["text"] == "文字"
    assert (facts["deleted"], facts["name"], facts["refused"]) == ("deleted", "renamed", "INVALID_PARAMETER_VALUE")
    assert facts["inputs"] == [["frame", "training"]]
    assert any("cpu" in key for key in facts["system"])
    for flavor, found in facts["autolog"].items():
        assert found["status"] == "FINISHED", flavor
        assert found["params"] > 0, flavor
    if not version.startswith("2."):
        assert facts["logged_models"] > len(FLAVORS[version])


@pytest.mark.parametrize("version", FLAVORS)
def test_a_models_life(version: str, mlwright_url: str, tmp_path: Path) -> None:
    """Registered while logged, loaded in every way, promoted, copied, and unchanged whatever happens to its run."""
    facts = _run(REGISTRY_STORY, version, mlwright_url, tmp_path)
    name = f"story {facts['version']}"
    for way in ("by_version", "by_alias", "latest", "by_stage", "copied", "after_run_deleted"):
        assert facts[way], way
    assert facts["stages"] == ["Archived", "Production"]
    assert facts["copy"] == [1, f"models:/{name}/1", True]
    assert (facts["plain"], facts["searched"], facts["aliases"]) == (3, [1], ["champion"])
    assert len(facts["refused"]) == 3
    assert facts["prompts"] == ([] if version.startswith("2.") else ["Hi {{name}}", "Hello {{name}}"])
    assert facts["webhooks"] == (None if version.startswith("2.") else WEBHOOKS)
    assert (facts["left"], facts["models"]) == ([1, 3], [name])
    assert facts["uri"].startswith("mlflow-artifacts:/registry/")


def _run(story: Path, version: str, url: str, folder: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(mlflow_python(version)), str(story), url, str(folder), *arguments],
        env=mlflow_environment(MLFLOW_TRACKING_URI=url, MLFLOW_HTTP_REQUEST_MAX_RETRIES="1", OMP_NUM_THREADS="1"),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts
