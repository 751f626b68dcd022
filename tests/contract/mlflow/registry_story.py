"""What a user of the model registry does with an unmodified MLflow client. Runs in a peer's interpreter; prints JSON.

Usage: registry_story.py TRACKING_URI FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression

MAJOR = int(mlflow.__version__.partition(".")[0])
NAME = f"story {mlflow.__version__}"


def fitted(turn: int) -> Any:
    features = np.random.default_rng(turn).random((60, 3))
    return LogisticRegression().fit(features, (features[:, 0] > 0.5 - turn / 10).astype(int))


def same(uri: str, model: Any) -> bool:
    """Whether what lies at the URI decides as the model does."""
    features = np.random.default_rng(9).random((200, 3))
    flavor, generic = mlflow.sklearn.load_model(uri), mlflow.pyfunc.load_model(uri)
    wanted = model.predict(features)
    return bool((flavor.predict(features) == wanted).all() and (generic.predict(features) == wanted).all())


def log_and_register(models: list[Any]) -> list[str]:
    run_ids = []
    for model in models:
        with mlflow.start_run() as run:
            mlflow.set_tag("mlflow.source.git.commit", "abc123")
            place = {"name": "model"} if MAJOR >= 3 else {"artifact_path": "model"}
            example = np.zeros((1, 3))
            mlflow.sklearn.log_model(model, registered_model_name=NAME, input_example=example, **place)
        run_ids.append(run.info.run_id)
    return run_ids


def register_from_run(client: MlflowClient, run_id: str) -> int:
    """The other way: a folder of the run's own artifacts."""
    client.log_text(run_id, "weights", "plain/weights.txt")
    uri = f"{client.get_run(run_id).info.artifact_uri}/plain"
    return int(client.create_model_version(NAME, uri, run_id, tags={"kind": "plain"}, description="by hand").version)


def prompts() -> list[str]:
    """Prompts are registered models with a tag, and no models to those who search."""
    name = f"prompt {mlflow.__version__}".replace(" ", "-").replace(".", "-")
    for template in ("Hi {{name}}", "Hello {{name}}"):
        mlflow.genai.register_prompt(name=name, template=template)
    mlflow.genai.set_prompt_alias(name, alias="polite", version=2)
    found = [mlflow.genai.load_prompt(f"prompts:/{name}{which}").template for which in ("/1", "@polite")]
    return [*found, *(each.name for each in MlflowClient().search_registered_models(f"name = '{name}'"))]


def webhooks(client: MlflowClient) -> dict[str, Any]:
    """Every method for webhooks; nobody listens where it leads."""
    from mlflow.entities.webhook import WebhookStatus

    created = client.create_webhook(
        "ci", "http://127.0.0.1:9/hook", ["model_version.created", "prompt.created"], description="d", secret="s"
    )
    updated = client.update_webhook(
        created.webhook_id, name="cd", status=WebhookStatus.DISABLED, events=["model_version_tag.set"]
    )
    found = client.get_webhook(created.webhook_id)
    facts: dict[str, Any] = {"created": [created.name, str(created.status), sorted(map(str, created.events))]}
    facts["updated"] = [found.name, str(found.status), [str(each) for each in found.events], found.description]
    facts["same"] = [updated.name, updated.url] == [found.name, found.url]
    facts["listed"] = created.webhook_id in [each.webhook_id for each in client.list_webhooks(max_results=1)]
    tested = client.test_webhook(created.webhook_id, event="prompt_tag.set")
    facts["tested"] = [tested.success, "Connection refused" in tested.error_message]
    client.delete_webhook(created.webhook_id)
    facts["left"] = [each.name for each in client.list_webhooks() if each.webhook_id == created.webhook_id]
    return facts


def refusals(client: MlflowClient, folder: Path) -> list[str]:
    """Every way a client can try to change what was registered."""
    found = []
    target = client.get_model_version_download_uri(NAME, "1")
    (folder / "MLmodel").write_text("changed")
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(target)
    changes: list[tuple[Any, ...]] = [
        (repository.log_artifact, str(folder / "MLmodel")),
        (repository.log_artifacts, str(folder), "sub"),
        (repository.delete_artifacts, "MLmodel"),
    ]
    for change, *arguments in changes:
        try:
            change(*arguments)
        except Exception as error:  # clients raise whatever they like; that they raise is what counts
            found.append(type(error).__name__)
    return found


def main() -> None:
    mlflow.set_tracking_uri(sys.argv[1])
    mlflow.set_experiment(NAME)
    client, folder = MlflowClient(), Path(sys.argv[2])
    models = [fitted(1), fitted(2)]
    run_ids = log_and_register(models)
    client.set_registered_model_alias(NAME, "champion", "1")
    facts: dict[str, Any] = {"version": mlflow.__version__, "by_version": same(f"models:/{NAME}/2", models[1])}
    facts["by_alias"] = same(f"models:/{NAME}@champion", models[0])
    facts["latest"] = same(f"models:/{NAME}/latest", models[1])
    client.transition_model_version_stage(NAME, "1", "Production")
    client.transition_model_version_stage(NAME, "2", "Production", archive_existing_versions=True)
    facts["by_stage"] = same(f"models:/{NAME}/Production", models[1])
    facts["stages"] = [client.get_model_version(NAME, version).current_stage for version in ("1", "2")]
    copy = client.copy_model_version(f"models:/{NAME}@champion", f"{NAME} copy")
    facts["copy"] = [int(copy.version), copy.source, copy.run_id == run_ids[0]]
    facts["copied"] = same(f"models:/{NAME} copy/1", models[0])
    facts["plain"] = register_from_run(client, run_ids[0])
    client.set_model_version_tag(NAME, "1", "checked", "yes")
    client.update_registered_model(NAME, "what it is for")
    facts["searched"] = [
        int(each.version) for each in client.search_model_versions(f"name = '{NAME}' AND tags.checked = 'yes'")
    ]
    facts["aliases"] = list(client.get_model_version_by_alias(NAME, "champion").aliases)
    facts["prompts"] = prompts() if MAJOR >= 3 else []
    facts["webhooks"] = webhooks(client) if MAJOR >= 3 else None
    facts["refused"] = refusals(client, folder)
    for run_id in run_ids:
        client.delete_run(run_id)
    facts["after_run_deleted"] = same(f"models:/{NAME}@champion", models[0])
    client.delete_model_version(NAME, "2")
    facts["left"] = sorted(int(each.version) for each in client.search_model_versions(f"name = '{NAME}'"))
    client.delete_registered_model(f"{NAME} copy")
    facts["models"] = [each.name for each in client.search_registered_models(f"name LIKE '{NAME}%'")]
    facts["uri"] = client.get_model_version_download_uri(NAME, "1")
    print(json.dumps(facts))


main()
