"""For each route of the server a request that aims at the secrets, as the one who may do it would send it."""

import json

from mlwright.security.signing import keys
from tests.e2e.access_world import ENDPOINT, KEY, PROJECT, SESAME, Request, Things, asked, form, get, send

_MLFLOW, _ARTIFACTS = "/api/2.0/mlflow", "/api/2.0/mlflow-artifacts"


def table(things: Things) -> dict[tuple[str, str], Request]:
    """(method, path of the route as `plain` writes it) -> request."""
    found = {
        **_protocol(things),
        **_protocol_runs(things),
        **_protocol_models(things),
        **_protocol_artifacts(things),
        **_protocol_registry(things),
        **_security(things),
        **_rest(things),
        **_rest_runs(things),
        **_rest_registry(things),
        **_webhooks(things),
        **_endpoints(),
        **_endpoint_pages(),
        **_moving(things),
        **_pages(things),
        **_run_pages(things),
        **_model_pages(things),
        **_version_pages(things),
    }
    return {(request.method, path): request for path_of, request in found.items() for path in [path_of.split(" ")[1]]}


def _protocol(on: Things) -> dict[str, Request]:
    one = {"experiment_id": str(on.experiment)}
    query = f'{{mlflowGetRun(input: {{runId: "{on.run}"}}) {{run {{info {{runName}}}}}}}}'
    base = f"{_MLFLOW}/experiments"
    return {
        "POST /graphql": asked("POST", "/graphql", {"query": query}),
        f"POST {_MLFLOW}/graphql": asked("POST", "/ajax-api/2.0/mlflow/graphql", {"query": query}),
        f"POST {base}/create": send("POST", f"{base}/create", {"name": "new"}),
        f"GET {base}/get": get(f"{base}/get?experiment_id={on.experiment}"),
        f"GET {base}/get-by-name": get(f"{base}/get-by-name?experiment_name={SESAME}-experiment"),
        f"POST {base}/delete": send("POST", f"{base}/delete", one),
        f"POST {base}/restore": send("POST", f"{base}/restore", {"experiment_id": str(on.gone_experiment)}),
        f"POST {base}/update": send("POST", f"{base}/update", {**one, "new_name": "x"}),
        f"POST {base}/set-experiment-tag": send(
            "POST", f"{base}/set-experiment-tag", {**one, "key": "k", "value": "v"}
        ),
        f"POST {base}/delete-experiment-tag": send("POST", f"{base}/delete-experiment-tag", {**one, "key": "t"}),
        f"POST {base}/search": asked("POST", f"{base}/search", {"max_results": 10}),
        f"GET {base}/search": get(f"{base}/search?max_results=10"),
        f"POST {base}/search-datasets": asked(
            "POST", f"{base}/search-datasets", {"experiment_ids": [str(on.experiment)]}
        ),
        "GET /health": Request("GET", "/health", anyone=True),
        "GET /version": Request("GET", "/version", anyone=True),
        "POST /v1/traces": Request("POST", "/v1/traces", anyone=True),
        f"GET {_MLFLOW}/server-info": Request("GET", f"{_MLFLOW}/server-info", anyone=True),
    }


def _protocol_runs(on: Things) -> dict[str, Request]:
    base, metrics, one = f"{_MLFLOW}/runs", f"{_MLFLOW}/metrics", {"run_id": on.run}
    dataset = {"dataset": {"name": "d", "digest": "1", "source_type": "s", "source": "s"}}
    point = {**one, "key": "m", "value": 1, "timestamp": 1}
    model = {"run_id": on.run, "artifact_path": "m", "utc_time_created": "2026-01-01", "flavors": {}}
    bodies = {
        "create": {"experiment_id": str(on.experiment), "run_name": "new"},
        "update": {**one, "run_name": "x"},
        "delete": one,
        "restore": {"run_id": on.gone_run},
        "log-metric": point,
        "log-parameter": {**one, "key": "new", "value": "v"},
        "set-tag": {**one, "key": "k", "value": "v"},
        "delete-tag": {**one, "key": "t"},
        "log-batch": {**one, "params": [{"key": "new", "value": "v"}], "tags": [{"key": "k", "value": "v"}]},
        "log-inputs": {**one, "datasets": [dataset]},
        "outputs": {**one, "models": [{"model_id": on.model}]},
        "log-model": {**one, "model_json": json.dumps(model)},
    }
    query = f"run_id={on.run}&metric_key={SESAME}/loss"
    return {
        **{f"POST {base}/{verb}": send("POST", f"{base}/{verb}", body) for verb, body in bodies.items()},
        f"GET {base}/get": get(f"{base}/get?run_id={on.run}"),
        f"POST {base}/search": asked("POST", f"{base}/search", {"experiment_ids": [str(on.experiment)]}),
        f"GET {metrics}/get-history": get(f"{metrics}/get-history?{query}"),
        f"GET {metrics}/get-history-bulk": get(f"{metrics}/get-history-bulk?{query}"),
        f"GET {metrics}/get-history-bulk-interval": get(
            f"{metrics}/get-history-bulk-interval?run_ids={on.run}&metric_key={SESAME}/loss"
        ),
    }


def _protocol_models(on: Things) -> dict[str, Request]:
    base = f"{_MLFLOW}/logged-models"
    path, one = f"{base}/{{model_id}}", f"{base}/{on.model}"
    return {
        f"POST {base}": send("POST", base, {"experiment_id": str(on.experiment), "name": "new"}),
        f"POST {base}/search": asked("POST", f"{base}/search", {"experiment_ids": [str(on.experiment)]}),
        f"GET {path}": get(one),
        f"PATCH {path}": send("PATCH", one, {"status": "LOGGED_MODEL_READY"}),
        f"DELETE {path}": send("DELETE", one),
        f"PATCH {path}/tags": send("PATCH", f"{one}/tags", {"tags": [{"key": "k", "value": "v"}]}),
        f"DELETE {path}/tags/{{key:path}}": send("DELETE", f"{one}/tags/t"),
        f"POST {path}/params": send("POST", f"{one}/params", {"params": [{"key": "new", "value": "v"}]}),
        f"GET {path}/artifacts/directories": get(f"{one}/artifacts/directories"),
        f"GET {path}/artifacts/files": get(f"{one}/artifacts/files?artifact_file_path={SESAME}.txt"),
    }


def _protocol_artifacts(on: Things) -> dict[str, Request]:
    base, query = f"{_ARTIFACTS}/artifacts", f"run_id={on.run}&path={SESAME}.txt"
    folder = on.file.rpartition("/")[0]
    direct = f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={on.run}&path=new.txt"
    end = {"path": "big.bin", "upload_id": on.upload, "parts": [{"part_number": 1}]}
    return {
        f"GET {_MLFLOW}/artifacts/list": get(f"{_MLFLOW}/artifacts/list?run_id={on.run}"),
        f"POST {_MLFLOW}/upload-artifact": Request("POST", direct, b"new", changes=True),
        "GET /get-artifact": get(f"/get-artifact?{query}"),
        f"GET {_MLFLOW}/get-artifact": get(f"/ajax-api/2.0/mlflow/get-artifact?{query}"),
        f"GET {base}": get(f"{base}?path={folder}"),
        f"GET {base}/{{path:path}}": get(f"{base}/{on.file}"),
        f"PUT {base}/{{path:path}}": Request("PUT", f"{base}/{on.file}", b"new", changes=True),
        f"DELETE {base}/{{path:path}}": send("DELETE", f"{base}/{on.file}"),
        f"PUT {_ARTIFACTS}/mpu/part/{{upload_id}}/{{number}}": Request(
            "PUT", f"{_ARTIFACTS}/mpu/part/{'0' * 32}/1", b"new", anyone=True  # the id of an upload is the right to it
        ),
        f"POST {_ARTIFACTS}/mpu/create/{{path:path}}": send(
            "POST", f"{_ARTIFACTS}/mpu/create/{folder}", {"path": "new.bin", "num_parts": 2}
        ),
        f"POST {_ARTIFACTS}/mpu/complete/{{path:path}}": send("POST", f"{_ARTIFACTS}/mpu/complete/{on.part}", end),
        f"POST {_ARTIFACTS}/mpu/abort/{{path:path}}": send("POST", f"{_ARTIFACTS}/mpu/abort/{on.part}", end),
    }  # fmt: skip


def _protocol_registry(on: Things) -> dict[str, Request]:
    models, versions = f"{_MLFLOW}/registered-models", f"{_MLFLOW}/model-versions"
    name, one = {"name": on.registered}, {"name": on.registered, "version": "1"}
    query = f"name={on.registered}"
    changes = {
        f"POST {models}/create": {"name": "new"},
        f"PATCH {models}/update": {**name, "description": "x"},
        f"POST {models}/rename": {**name, "new_name": "x"},
        f"DELETE {models}/delete": name,
        f"POST {models}/set-tag": {**name, "key": "k", "value": "v"},
        f"DELETE {models}/delete-tag": {**name, "key": "t"},
        f"POST {models}/alias": {**one, "alias": "new"},
        f"DELETE {models}/alias": {**name, "alias": "champion"},
        f"POST {versions}/create": {**name, "source": f"models:/{on.registered}/1"},
        f"PATCH {versions}/update": {**one, "description": "x"},
        f"DELETE {versions}/delete": one,
        f"POST {versions}/transition-stage": {**one, "stage": "Staging"},
        f"POST {versions}/set-tag": {**one, "key": "k", "value": "v"},
        f"DELETE {versions}/delete-tag": {**one, "key": "t"},
    }
    reads = {
        f"{models}/get": query,
        f"{models}/search": f"max_results=10&filter=name+LIKE+'{SESAME}%25'",
        f"{models}/get-latest-versions": query,
        f"{models}/alias": f"{query}&alias=champion",
        f"{versions}/get": f"{query}&version=1",
        f"{versions}/search": "max_results=10",
    }
    file = f"{query}&version=1&path={SESAME}.txt"
    return {
        **{path: send(path.split(" ")[0], path.split(" ")[1], body) for path, body in changes.items()},
        **{f"GET {path}": get(f"{path}?{text}") for path, text in reads.items()},
        f"GET {versions}/get-download-uri": Request("GET", f"{versions}/get-download-uri?{query}&version=1"),
        f"POST {models}/get-latest-versions": asked("POST", f"{models}/get-latest-versions", name),
        "GET /model-versions/get-artifact": get(f"/model-versions/get-artifact?{file}"),
        f"GET {versions}/get-artifact": get(f"/ajax-api/2.0/mlflow/model-versions/get-artifact?{file}"),
    }


def _rest_registry(on: Things) -> dict[str, Request]:
    path, one, here = "/v1/models/{name}", f"/v1/models/{on.registered}", f"?project={PROJECT}"
    version, alias = f"{path}/versions/{{version}}", f"{path}/aliases/{{alias}}"
    return {
        "GET /v1/lineage": get(f"/v1/lineage?subject=run/{on.run}"),
        "GET /v1/lineage/live": get(f"/v1/lineage/live?subject=run/{on.run}"),
        "GET /v1/lineage/openlineage": get(f"/v1/lineage/openlineage?subject=run/{on.run}"),
        "GET /v1/models": get("/v1/models"),
        f"GET {path}": get(f"{one}{here}"),
        f"DELETE {path}": send("DELETE", f"{one}{here}"),
        f"GET {path}/versions": get(f"{one}/versions{here}"),
        f"GET {version}": get(f"{one}/versions/1{here}"),
        f"DELETE {version}": send("DELETE", f"{one}/versions/1{here}"),
        f"POST {version}/release": send(
            "POST", f"{one}/versions/1/release{here}", {"to_project": PROJECT, "to_name": "copy"}
        ),
        f"GET {alias}": get(f"{one}/aliases/champion{here}"),
        f"PUT {alias}": send("PUT", f"{one}/aliases/new{here}", {"version": 1}),
        f"DELETE {alias}": send("DELETE", f"{one}/aliases/champion{here}"),
        f"GET {version}/card": get(f"{one}/versions/1/card{here}"),
        f"GET {version}/difference": get(f"{one}/versions/1/difference{here}&to_version=1"),
        f"GET {version}/gates": get(f"{one}/versions/1/gates{here}"),
        f"POST {version}/gates": send("POST", f"{one}/versions/1/gates{here}", {}),
        f"GET {version}/files": get(f"{one}/versions/1/files{here}"),
        f"GET {version}/files/{{path:path}}": get(f"{one}/versions/1/files/{SESAME}.txt{here}"),
        f"GET {version}/signatures": get(f"{one}/versions/1/signatures{here}"),
        f"POST {version}/signatures": send("POST", f"{one}/versions/1/signatures{here}", {"bundle": on.bundle}),
        f"GET {version}/signatures/{{fingerprint}}": get(
            f"{one}/versions/1/signatures/{keys.fingerprint(KEY.public_key())}{here}"
        ),
        f"GET {version}/sbom": get(f"{one}/versions/1/sbom{here}"),
        f"POST {version}/verification": asked("POST", f"{one}/versions/1/verification{here}", {}),
        f"PUT {version}/gates/{{policy}}/{{gate}}/approval": send(
            "PUT", f"{one}/versions/1/gates/{SESAME}-policy/lead/approval{here}", {"approves": False}, by="root"
        ),
    }


def _webhooks(on: Things) -> dict[str, Request]:
    """They are the administrators' affair."""
    many, one = f"{_MLFLOW}/webhooks", f"{_MLFLOW}/webhooks/{{webhook_id}}"
    own, rest = f"{many}/{on.webhook}", f"/v1/webhooks/{on.webhook}"
    path, here = "/v1/webhooks/{webhook}", f"?project={PROJECT}"
    new = {"name": "new", "url": "https://127.0.0.1:1/"}
    told = f"{path}/deliveries"
    return {
        f"POST {many}": send("POST", many, {**new, "events": [{"entity": 1, "action": 1}]}, by="root"),
        f"GET {many}": get(many, by="root"),
        f"GET {one}": get(own, by="root"),
        f"PATCH {one}": send("PATCH", own, {"name": "x"}, by="root"),
        f"DELETE {one}": send("DELETE", own, by="root"),
        f"POST {one}/test": Request("POST", f"{own}/test", by="root"),
        "GET /v1/webhooks": get(f"/v1/webhooks{here}", by="root"),
        "POST /v1/webhooks": send("POST", f"/v1/webhooks{here}", {**new, "events": ["prompt.created"]}, by="root"),
        f"GET {path}": get(rest, by="root"),
        f"PATCH {path}": send("PATCH", rest, {"name": "x"}, by="root"),
        f"DELETE {path}": send("DELETE", rest, by="root"),
        f"POST {path}/test": Request("POST", f"{rest}/test", by="root"),
        f"GET {told}": get(f"{rest}/deliveries", by="root"),
        f"GET {told}/{{delivery}}": get(f"{rest}/deliveries/{on.delivery}", by="root"),
        f"POST {told}/{{delivery}}/retry": send("POST", f"{rest}/deliveries/{on.delivery}/retry", by="root"),
    }


def _endpoints() -> dict[str, Request]:
    path, one, here = "/v1/endpoints/{name}", f"/v1/endpoints/{ENDPOINT}", f"?project={PROJECT}"
    key = f"{one}/keys/{SESAME}-key{here}"
    return {
        "GET /v1/serving": Request("GET", "/v1/serving", anyone=True),
        "GET /v1/endpoints": get("/v1/endpoints"),
        f"GET {path}": get(f"{one}{here}"),
        f"POST {path}/deploy": send("POST", f"{one}/deploy{here}", {"override": "x"}, by="root"),
        f"POST {path}/rollback": send("POST", f"{one}/rollback{here}", {}),
        f"POST {path}/rollout": send("POST", f"{one}/rollout{here}", {"action": "pause"}),
        f"GET {path}/rollouts": Request("GET", f"{one}/rollouts{here}"),
        f"GET {path}/rollout": Request("GET", f"{one}/rollout{here}"),
        f"GET {path}/minutes": Request("GET", f"{one}/minutes{here}"),
        f"GET {path}/predictions": Request("GET", f"{one}/predictions{here}"),
        f"GET {path}/keys": get(f"{one}/keys{here}", by="root"),
        f"POST {path}/keys": send("POST", f"{one}/keys{here}", {"name": "new"}, by="root"),
        f"DELETE {path}/keys/{{key}}": send("DELETE", key, by="root"),
        f"POST {path}/rewards": send("POST", f"{one}/rewards{here}", {"version": 1, "reward": 1}),
    }


def _security(on: Things) -> dict[str, Request]:
    roles = f"/v1/projects/{PROJECT}/roles"
    manifest = {
        "apiVersion": "mlwright.dev/v1", "kind": "Project", "metadata": {"name": PROJECT}, "spec": {"description": "x"},
    }  # fmt: skip
    project = f"/v1/resources/project/{PROJECT}"
    return {
        "GET /v1/me": Request("GET", "/v1/me", anyone=True),
        "GET /v1/principals": Request("GET", "/v1/principals", by="root"),
        "POST /v1/principals": send("POST", "/v1/principals", {"name": "new"}, by="root"),
        "PATCH /v1/principals/{name}": send("PATCH", "/v1/principals/editor", {"password": "x" * 20}, by="root"),
        "GET /v1/tokens": get("/v1/tokens?principal=editor"),
        "POST /v1/tokens": send("POST", "/v1/tokens", {"principal": "editor"}),
        "DELETE /v1/tokens/{id}": send("DELETE", f"/v1/tokens/{on.token}"),
        "GET /v1/projects": get("/v1/projects"),
        "POST /v1/projects": send("POST", "/v1/projects", {"name": "new"}, by="root"),
        "GET /v1/projects/{project}/roles": Request("GET", roles, by="root"),
        "POST /v1/projects/{project}/roles": send("POST", roles, {"principal": "viewer", "role": "admin"}, by="root"),
        "DELETE /v1/projects/{project}/roles/{principal}": send("DELETE", f"{roles}/editor", by="root"),
        "GET /v1/kinds": Request("GET", "/v1/kinds", anyone=True),
        "GET /v1/kinds/{kind}": Request("GET", "/v1/kinds/project", anyone=True),
        "GET /v1/kinds/{kind}/schema": Request("GET", "/v1/kinds/project/schema", anyone=True),
        "POST /v1/resources": send("POST", "/v1/resources", manifest, by="root"),
        "GET /v1/resources/{kind}": get("/v1/resources/project"),
        "GET /v1/changes/{kind}": get("/v1/changes/project"),
        "GET /v1/resources/{kind}/{name}": get(project),
        "DELETE /v1/resources/{kind}/{name}": send("DELETE", "/v1/resources/project/elsewhere", by="root"),
        "GET /v1/events": get("/v1/events?limit=1000"),
        "GET /v1/audit": Request("GET", "/v1/audit", by="root"),
        "POST /v1/gc": send("POST", "/v1/gc", {"older_than_ms": 0}, by="root"),
        "GET /openapi.json": Request("GET", "/openapi.json", anyone=True),
        "GET /login": Request("GET", "/login", anyone=True),
        "POST /login": form("/login", [("name", "editor"), ("password", "guess")], anyone=True),
        "POST /logout": form("/logout", [], anyone=True),
        "GET /static/{digest}/{name:path}": Request("GET", "/static/x/../../wiring.py", anyone=True),
    }


def _rest(on: Things) -> dict[str, Request]:
    many, one = "/v1/experiments", f"/v1/experiments/{on.experiment}"
    path, model = f"{many}/{{experiment_id}}", f"/v1/logged-models/{on.model}"
    models = "/v1/logged-models/{model_id}"
    return {
        f"GET {many}": get(many),
        f"POST {many}": send("POST", many, {"name": "new", "project": PROJECT}),
        f"GET {path}": get(one),
        f"PATCH {path}": send("PATCH", one, {"name": "x"}),
        f"DELETE {path}": send("DELETE", one),
        f"POST {path}/restore": send("POST", f"{many}/{on.gone_experiment}/restore"),
        f"PUT {path}/tags/{{key:path}}": send("PUT", f"{one}/tags/k", {"value": "v"}),
        f"DELETE {path}/tags/{{key:path}}": send("DELETE", f"{one}/tags/t"),
        f"GET {path}/datasets": get(f"{one}/datasets"),
        f"GET {path}/views": get(f"{one}/views"),
        f"PUT {path}/views/{{name}}": send("PUT", f"{one}/views/best", {"query": {}}),
        f"DELETE {path}/views/{{name}}": send("DELETE", f"{one}/views/best"),
        f"GET {path}/export": get(f"{one}/export"),
        "GET /v1/logged-models": get(f"/v1/logged-models?experiment={on.experiment}"),
        f"GET {models}": get(model),
        f"DELETE {models}": send("DELETE", model),
        f"PUT {models}/tags/{{key:path}}": send("PUT", f"{model}/tags/k", {"value": "v"}),
        f"DELETE {models}/tags/{{key:path}}": send("DELETE", f"{model}/tags/t"),
        f"GET {models}/artifacts": get(f"{model}/artifacts"),
        f"GET {models}/artifacts/{{path:path}}": get(f"{model}/artifacts/{SESAME}.txt"),
        f"PUT {models}/artifacts/{{path:path}}": Request("PUT", f"{model}/artifacts/new", b"new", changes=True),
        f"DELETE {models}/artifacts/{{path:path}}": send("DELETE", f"{model}/artifacts/{SESAME}.txt"),
    }


def _rest_runs(on: Things) -> dict[str, Request]:
    path, one = "/v1/runs/{run_id}", f"/v1/runs/{on.run}"
    wanted = {"runs": [on.run], "keys": [f"{SESAME}/loss"]}
    return {
        "GET /v1/runs": get(f"/v1/runs?experiment={on.experiment}"),
        "POST /v1/runs": send("POST", "/v1/runs", {"experiment_id": on.experiment}),
        "POST /v1/runs/search": asked("POST", "/v1/runs/search", {"experiments": [on.experiment]}),
        "POST /v1/series": asked("POST", "/v1/series", wanted),
        f"GET {path}": get(one),
        f"PATCH {path}": send("PATCH", one, {"name": "x"}),
        f"DELETE {path}": send("DELETE", one),
        f"POST {path}/restore": send("POST", f"/v1/runs/{on.gone_run}/restore"),
        f"POST {path}/log": send("POST", f"{one}/log", {"params": {"new": "v"}, "tags": {"k": "v"}}),
        f"POST {path}/inputs": send("POST", f"{one}/inputs", {"models": [on.model]}),
        f"POST {path}/outputs": send("POST", f"{one}/outputs", {"models": [{"model_id": on.model}]}),
        f"PUT {path}/tags/{{key:path}}": send("PUT", f"{one}/tags/k", {"value": "v"}),
        f"DELETE {path}/tags/{{key:path}}": send("DELETE", f"{one}/tags/t"),
        f"GET {path}/series": get(f"{one}/series"),
        f"GET {path}/reproductions": Request("GET", f"{one}/reproductions"),
        f"POST {path}/reproductions": send(
            "POST", f"/v1/runs/{on.gone_run}/reproductions", {"run_id": on.run, "outcome": "differs"}
        ),
        f"GET {path}/comments": get(f"{one}/comments"),
        f"POST {path}/comments": send("POST", f"{one}/comments", {"body": "hello"}, viewers_may=True),
        f"DELETE {path}/comments/{{id}}": send("DELETE", f"{one}/comments/{on.comment}", by="root"),
        f"GET {path}/artifacts": get(f"{one}/artifacts"),
        f"GET {path}/artifacts/{{path:path}}": get(f"{one}/artifacts/{SESAME}.txt"),
        f"PUT {path}/artifacts/{{path:path}}": Request("PUT", f"{one}/artifacts/new", b"new", changes=True),
        f"DELETE {path}/artifacts/{{path:path}}": send("DELETE", f"{one}/artifacts/{SESAME}.txt"),
    }


def _moving(on: Things) -> dict[str, Request]:
    point = b"\x01" + bytes(7) + b"\x02" + bytes(7) + bytes(8)
    moved = {"source_id": "9", "name": "moved"}
    series = {"series": [{"run_id": on.run, "key": "new", "data": point}]}
    states = {"run_ids": [on.run], "model_ids": [on.model]}
    runs = {"experiment_id": on.experiment, "runs": [{"run_id": "1" * 32, "name": "moved"}]}
    models = {"experiment_id": on.experiment, "models": [{"model_id": "m-" + "1" * 32, "name": "moved"}]}
    versions = {"name": on.registered, "versions": [{"version": 9, "source": "s3://far/model"}], "project": PROJECT}
    return {
        "GET /v1/export/runs": get(f"/v1/export/runs?experiment={on.experiment}"),
        "GET /v1/export/metrics": get(f"/v1/export/metrics?experiment={on.experiment}"),
        "POST /v1/import/experiments": send(
            "POST", "/v1/import/experiments", {"experiment": moved, "project": PROJECT}
        ),
        "POST /v1/import/runs": send("POST", "/v1/import/runs", runs),
        "POST /v1/import/series": send("POST", "/v1/import/series", series),
        "POST /v1/import/models": send("POST", "/v1/import/models", models),
        "POST /v1/import/registered-models": send(
            "POST", "/v1/import/registered-models", {"model": {"name": "moved"}, "project": PROJECT}
        ),
        "POST /v1/import/versions": send("POST", "/v1/import/versions", versions),
        "POST /v1/import/aliases": send(
            "POST", "/v1/import/aliases", {"name": on.registered, "aliases": {"moved": 1}, "project": PROJECT}
        ),
        "POST /v1/import/states": asked("POST", "/v1/import/states", states),
    }


def _pages(on: Things) -> dict[str, Request]:
    path, one = "/experiments/{id}", f"/experiments/{on.experiment}"
    query = f"run={on.run}&key={SESAME}/loss"
    return {
        "GET /": get("/"),
        "GET /experiments": get("/experiments"),
        "GET /projects/{project}": Request("GET", f"/projects/{PROJECT}", anyone=True),
        "GET /projects/{project}/": Request("GET", f"/projects/{PROJECT}/", anyone=True),
        "GET /projects/{project}/experiments/{id}": Request(
            "GET", f"/projects/{PROJECT}/experiments/{on.experiment}", anyone=True
        ),
        "GET /projects/{project}/runs/{id}": Request("GET", f"/projects/{PROJECT}/runs/{on.run}", anyone=True),
        "POST /experiments": form("/experiments", [("name", "new"), ("project", PROJECT)]),
        "GET /compare": get(f"/compare?run={on.run}&run={on.gone_run}"),
        "GET /series": get(f"/series?{query}"),
        f"POST {path}/rename": form(f"{one}/rename", [("name", "x")]),
        f"POST {path}/delete": form(f"{one}/delete", []),
        f"POST {path}/restore": form(f"/experiments/{on.gone_experiment}/restore", []),
        f"POST {path}/tags": form(f"{one}/tags", [("key", "k"), ("value", "v")]),
        f"GET {path}": get(one),
        f"GET {path}/keys": get(f"{one}/keys"),
        f"GET {path}/live": Request("GET", f"{one}/live"),
        f"GET {path}/runs.csv": get(f"{one}/runs.csv"),
        f"POST {path}/runs": form(f"{one}/runs", [("run", on.run), ("action", "delete")]),
        f"POST {path}/columns": Request("POST", f"{one}/columns", b"column=params.p", form=True, anyone=True),
        f"POST {path}/views": form(f"{one}/views", [("name", "new"), ("back", "?view=all")]),
        f"POST {path}/views/delete": form(f"{one}/views/delete", [("name", "best")]),
    }


def _run_pages(on: Things) -> dict[str, Request]:
    path, one = "/runs/{id}", f"/runs/{on.run}"
    return {
        f"GET {path}": get(one),
        f"GET {path}/charts": get(f"{one}/charts"),
        f"GET {path}/system": get(f"{one}/system"),
        f"GET {path}/live": Request("GET", f"{one}/live"),
        f"POST {path}/rename": form(f"{one}/rename", [("name", "x")]),
        f"POST {path}/note": form(f"{one}/note", [("note", "x")]),
        f"POST {path}/preview": Request("POST", f"{one}/preview", b"note=x", form=True, anyone=True),
        f"POST {path}/comments": form(f"{one}/comments", [("body", "hello")], viewers_may=True),
        f"POST {path}/comments/delete": form(f"{one}/comments/delete", [("comment", str(on.comment))], by="root"),
        f"POST {path}/tags": form(f"{one}/tags", [("key", "k"), ("value", "v")]),
        f"POST {path}/tags/delete": form(f"{one}/tags/delete", [("key", "t")]),
        f"POST {path}/delete": form(f"{one}/delete", []),
        f"POST {path}/restore": form(f"/runs/{on.gone_run}/restore", []),
        f"GET {path}/artifacts": get(f"{one}/artifacts"),
        f"GET {path}/artifacts/{{path:path}}": get(f"{one}/artifacts/{SESAME}.txt"),
        f"GET {path}/raw/{{path:path}}": get(f"{one}/raw/{SESAME}.txt"),
        f"GET {path}/environment": get(f"{one}/environment"),
    }


def _model_pages(on: Things) -> dict[str, Request]:
    path, one = "/projects/{project}/models/{name}", f"/projects/{PROJECT}/models/{on.registered}"
    alias = [("alias", "new"), ("version", "1")]
    return {
        "GET /models": get("/models"),
        "POST /models": form("/models", [("name", "new"), ("project", PROJECT)]),
        "GET /models/{name}": Request("GET", f"/models/{on.registered}", anyone=True),
        "GET /models/{name}/versions/{version}": Request("GET", f"/models/{on.registered}/versions/1", anyone=True),
        "GET /gates": get("/gates"),
        "GET /approvals": get("/approvals?of=all"),
        "GET /lineage": get(f"/lineage?subject=run/{on.run}"),
        "GET /approvals/live": Request("GET", "/approvals/live", anyone=True),
        "GET /webhooks": get("/webhooks"),
        "GET /webhooks/live": Request("GET", "/webhooks/live", anyone=True),
        f"GET {path}": get(one),
        f"GET {path}/history": get(f"{one}/history"),
        f"GET {path}/gates": get(f"{one}/gates"),
        f"GET {path}/keys": Request("GET", f"{one}/keys"),
        f"GET {path}/live": Request("GET", f"{one}/live"),
        f"POST {path}/columns": Request("POST", f"{one}/columns", b"column=params.p", form=True, anyone=True),
        f"POST {path}/preview": Request("POST", f"{one}/preview", b"note=x", form=True, anyone=True),
        f"POST {path}/describe": form(f"{one}/describe", [("note", "x")]),
        f"POST {path}/tags": form(f"{one}/tags", [("key", "k"), ("value", "v")]),
        f"POST {path}/tags/delete": form(f"{one}/tags/delete", [("key", "t")]),
        f"POST {path}/aliases": form(f"{one}/aliases", alias),
        f"POST {path}/aliases/delete": form(f"{one}/aliases/delete", [("alias", "champion")]),
        f"POST {path}/rename": form(f"{one}/rename", [("new_name", "x")]),
        f"POST {path}/delete": form(f"{one}/delete", []),
    }


def _version_pages(on: Things) -> dict[str, Request]:
    path = "/projects/{project}/models/{name}/versions/{version}"
    one = f"/projects/{PROJECT}/models/{on.registered}/versions/1"
    word = [("policy", f"{SESAME}-policy"), ("gate", "lead"), ("word", "reject")]
    return {
        f"GET {path}": get(one),
        f"GET {path}/gates": get(f"{one}/gates"),
        f"GET {path}/materials": get(f"{one}/materials"),
        f"GET {path}/sbom.cdx.json": Request("GET", f"{one}/sbom.cdx.json"),
        f"GET {path}/report": get(f"{one}/report?as=junit"),
        f"GET {path}/files": get(f"{one}/files"),
        f"GET {path}/files/{{path:path}}": get(f"{one}/files/{SESAME}.txt"),
        f"GET {path}/raw/{{path:path}}": get(f"{one}/raw/{SESAME}.txt"),
        f"GET {path}/lineage": get(f"{one}/lineage"),
        f"GET {path}/history": get(f"{one}/history"),
        f"GET {path}/card": get(f"{one}/card"),
        f"GET {path}/card.md": get(f"{one}/card.md"),
        f"GET {path}/compare": get(f"{one}/compare"),
        f"POST {path}/gates": form(f"{one}/gates", []),
        f"POST {path}/word": form(f"{one}/word", word, by="root"),
        f"POST {path}/describe": form(f"{one}/describe", [("note", "x")]),
        f"POST {path}/tags": form(f"{one}/tags", [("key", "k"), ("value", "v")]),
        f"POST {path}/tags/delete": form(f"{one}/tags/delete", [("key", "t")]),
        f"POST {path}/stage": form(f"{one}/stage", [("stage", "Staging")]),
        f"POST {path}/delete": form(f"{one}/delete", []),
    }


def _endpoint_pages() -> dict[str, Request]:
    path, one = "/projects/{project}/endpoints/{name}", f"/projects/{PROJECT}/endpoints/{ENDPOINT}"
    return {
        "GET /endpoints": get("/endpoints"),
        "GET /endpoints/live": Request("GET", "/endpoints/live", anyone=True),
        "GET /endpoints/{name}": Request("GET", f"/endpoints/{ENDPOINT}"),
        f"GET {path}": get(one),
        f"POST {path}/try": Request("POST", f"{one}/try", b"body=1", form=True),
        f"POST {path}/rollout": form(f"{one}/rollout", [("action", "pause")]),
        f"POST {path}/rollback": form(f"{one}/rollback", [("revision", "")]),
    }
