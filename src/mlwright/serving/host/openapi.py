"""The host's HTTP interface in OpenAPI 3.1: of all that a host may serve, or of one endpoint with its own inputs.

The Open Inference Protocol's six operations are those of
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_rest.yaml.
"""

from typing import Any

from mlwright.serving.host.endpoints import Endpoint
from mlwright.serving.host.examples import as_invocation, as_tensors
from mlwright.serving.host.hosted import named_version
from mlwright.serving.host.takes import Input, Takes
from mlwright.serving.host.tensors import SIZES, TEXT, Asked

_Schema = dict[str, Any]
_ANY_OBJECT: _Schema = {"type": "object"}
_TEXT: _Schema = {"type": "string"}
_NAMED = {"name": {**_TEXT, "minLength": 1}}


def _object(required: list[str], **properties: _Schema) -> _Schema:
    return {"type": "object", "required": required, "properties": properties}


def _list(items: _Schema, **more: Any) -> _Schema:
    return {"type": "array", "items": items, **more}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_TENSOR_SHAPE = {
    "shape": _list({"type": "integer", "minimum": 0}, minItems=1),
    "datatype": {**_TEXT, "enum": [*SIZES, TEXT]},
    "parameters": _ANY_OBJECT,
}
_DATA = {"data": {"type": "array", "description": "Flat, or nested as the shape. null is NaN."}}
_METADATA = _object(["name", "datatype", "shape"], **_NAMED, datatype=_TEXT, shape=_list({"type": "integer"}))
_SCHEMAS: dict[str, _Schema] = {
    "Ready": _object(["ready"], ready={"type": "boolean"}, name=_TEXT),
    "Live": _object(["live"], live={"type": "boolean"}),
    "Server": _object(["name", "version", "extensions"], name=_TEXT, version=_TEXT, extensions=_list(_TEXT)),
    "Model": _object(
        ["name", "platform", "inputs", "outputs"],
        name=_TEXT,
        versions=_list(_TEXT),
        platform=_TEXT,
        inputs=_list(_METADATA),
        outputs=_list(_METADATA),
    ),
    "InferenceRequest": _object(
        ["inputs"],
        id=_TEXT,
        parameters=_ANY_OBJECT,
        inputs=_list(_object(["name", "shape", "datatype"], **_NAMED, **_TENSOR_SHAPE, **_DATA), minItems=1),
        outputs=_list(_object(["name"], **_NAMED, parameters=_ANY_OBJECT)),
    ),
    "InferenceResponse": _object(
        ["model_name", "outputs"],
        model_name=_TEXT,
        model_version=_TEXT,
        id=_TEXT,
        outputs=_list(_object(["name", "shape", "datatype"], **_NAMED, **_TENSOR_SHAPE, **_DATA)),
    ),
    "Index": _list(
        _object(["name", "version", "state", "reason"], name=_TEXT, version=_TEXT, state=_TEXT, reason=_TEXT)
    ),
    "Changed": _object(["name"], name=_TEXT, load={"type": "boolean"}, unload={"type": "boolean"}),
    "Predictions": _object(["predictions"], predictions={"description": "One per row, or one list per output."}),
    "Error": _object(["error"], error=_TEXT),
    "InvocationError": _object(["error_code", "message"], error_code=_TEXT, message=_TEXT),
}


def of_host() -> _Schema:
    """Of whatever endpoints there are."""
    model = "/v2/models/{model_name}"
    paths = _server_paths()
    for path in (model, f"{model}/versions/{{model_version}}"):
        paths |= _model_paths(path, "", {})
    paths |= {
        "/v2/repository/index": {
            "post": _operation("Index", "What is there", body=_optional({"ready": {"type": "boolean"}}), needed=False)
        },
        "/v1/models/{model_name}": {"get": _operation("Ready", "Whether it answers (V1)", unready=True)},
        "/v1/models/{model_name}:predict": {"post": _predict(_v1({}), {})},
        "/endpoints/{model_name}/invocations": {"post": _invoke(_invocation({}), {})},
    }
    for verb in ("load", "unload"):
        operation = _operation(
            "Changed", f"{verb.capitalize()} it now", "409", body=_optional({"parameters": _ANY_OBJECT}), needed=False
        )
        paths[f"/v2/repository/models/{{model_name}}/{verb}"] = {"post": operation}
    return _document("mlwright serving host", paths)


def of_endpoint(endpoint: Endpoint, sample: Asked | None) -> _Schema:
    """Of one endpoint, with its own inputs and an example."""
    name = endpoint.served.name
    takes = named_version(endpoint, "").takes
    row = _row(takes)
    v2 = as_tensors(sample) if sample else {}
    told = as_invocation(sample) if sample else {}
    v1 = {"instances": told["dataframe_split"]["data"]} if "dataframe_split" in told else {}
    paths = _model_paths(f"/v2/models/{name}", f" of {name}", v2)
    paths[f"/v1/models/{name}:predict"] = {"post": _predict(_v1(row), v1)}
    paths[f"/endpoints/{name}/invocations"] = {"post": _invoke(_invocation(row), told)}
    document = _document(f"Endpoint {name}", paths)
    if endpoint.served.keys:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


# --- inputs of a version ------------------------------------------------------------------------------------------


def _row(takes: Takes) -> _Schema:
    """The schema of a row as an object of columns; empty when the version takes no table."""
    if not takes.table:
        return {}
    return {
        "type": "object",
        "properties": {each.name: _column(each) for each in takes.inputs},
        "required": [each.name for each in takes.inputs if each.required],
    }


def _column(each: Input) -> _Schema:
    if each.datatype == TEXT:
        kind = "string" if each.kind == "string" else ""
        return {"type": ["string", "null"]} if kind else {"description": each.kind or "any"}
    if each.datatype == "BOOL":
        return {"enum": [True, False, 0, 1]}
    if "INT" in each.datatype:
        return {"type": ["integer", "boolean"], "format": each.datatype.lower()}
    return {"type": ["number", "boolean", "null"], "description": "null is NaN"}


def _v1(row: _Schema) -> _Schema:
    items = {"anyOf": [row, {"type": "array"}]} if row else {}
    return {
        "oneOf": [
            _object(["instances"], instances={"type": "array", "items": items, "minItems": 1}),
            _object(["inputs"], inputs={"type": ["object", "array"]}),
        ]
    }


def _invocation(row: _Schema) -> _Schema:
    split = _object(["data"], columns={"type": ["array", "null"]}, data=_list({"type": "array"}, minItems=1))
    return {
        "oneOf": [
            _object(["dataframe_split"], dataframe_split=split),
            _object(["dataframe_records"], dataframe_records=_list(row or _ANY_OBJECT, minItems=1)),
            *_v1(row)["oneOf"],
        ]
    }


# --- operations ---------------------------------------------------------------------------------------------------


def _server_paths() -> dict[str, Any]:
    return {
        "/v2": {"get": _operation("Server", "What this is")},
        "/v2/health/live": {"get": _operation("Live", "Whether the host runs")},
        "/v2/health/ready": {"get": _operation("Ready", "Whether all endpoints answer", unready=True)},
    }


def _model_paths(path: str, which: str, example: _Schema) -> dict[str, Any]:
    body = {"application/json": {"schema": _ref("InferenceRequest")} | ({"example": example} if example else {})}
    infer = _operation("InferenceResponse", f"Predictions{which}", "413", "429", "500", "503", "504", body=body)
    return {
        path: {"get": _operation("Model", f"Inputs and outputs{which}")},
        f"{path}/ready": {"get": _operation("Ready", f"Whether it answers{which}", unready=True)},
        f"{path}/infer": {"post": infer},
    }


def _predict(schema: _Schema, example: _Schema) -> _Schema:
    body = {"application/json": {"schema": schema} | ({"example": example} if example else {})}
    return _operation("Predictions", "Predictions (V1)", "413", "429", "500", "503", "504", body=body)


def _invoke(schema: _Schema, example: _Schema) -> _Schema:
    body = {
        "application/json": {"schema": schema} | ({"example": example} if example else {}),
        "text/csv": {"schema": _TEXT},
    }
    statuses = ("413", "429", "500", "503", "504")
    return _operation("Predictions", "Predictions (MLflow)", *statuses, body=body, refused="InvocationError")


def _optional(properties: dict[str, _Schema]) -> _Schema:
    return {"application/json": {"schema": {"type": "object", "properties": properties}}}


def _operation(
    result: str,
    summary: str,
    *statuses: str,
    body: _Schema | None = None,
    refused: str = "Error",
    needed: bool = True,
    unready: bool = False,
) -> _Schema:
    """An operation: what it answers, and with which statuses it refuses beside those that all have."""
    error = {"description": "Refused", "content": {"application/json": {"schema": _ref(refused)}}}
    found: _Schema = {
        "summary": summary,
        "responses": {
            "200": {"description": "Success", "content": {"application/json": {"schema": _ref(result)}}},
            **dict.fromkeys(("400", "401", "403", "404", *statuses), error),
        },
    }
    if unready:
        found["responses"]["503"] = found["responses"]["200"] | {"description": "It does not"}
    if body is not None:
        found["requestBody"] = {"content": body, "required": needed}
    return found


def _document(title: str, paths: dict[str, Any]) -> _Schema:
    for path, methods in paths.items():
        named = [name for name in ("model_name", "model_version") if f"{{{name}}}" in path]
        for method, operation in methods.items():
            operation["operationId"] = "_".join(
                [method, *path.replace(":", "/").translate(_PLAIN).strip("/").split("/")]
            )
            operation["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {**_TEXT, "pattern": "^[^/:?#.]+$"}}
                for name in named
            ]
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "2"},
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }


_PLAIN = str.maketrans("", "", "{}")
