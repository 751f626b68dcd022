"""Two older protocols: TensorFlow Serving's and KServe's `:predict` (V1), and MLflow's `/invocations`.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol,
https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/
"""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from mlwright.kernel.errors import Invalid
from mlwright.serving.host.answering import Answer, Dialect, Reading, Reply, by_rows, encode, read_json
from mlwright.serving.host.state import Revision
from mlwright.serving.host.takes import Takes
from mlwright.serving.host.tensors import Asked

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def _document(body: bytes) -> dict[str, Any]:
    found = read_json(body, _DECODER)
    if not isinstance(found, dict):
        raise Invalid("the request is no JSON object", path="body")
    return found


# --- V1 -----------------------------------------------------------------------------------------------------------


def read_v1(body: bytes, _headers: Mapping[bytes, bytes], takes: Takes) -> Reading:
    """`instances` are rows, `inputs` columns. Raises Invalid."""
    document = _document(body)
    named = [name for name in ("instances", "inputs") if name in document]
    if len(named) != 1:
        raise Invalid("exactly one of instances and inputs is needed", path="body")
    if named[0] == "instances":
        return Reading(_records_or_rows(takes, document["instances"], "instances"))
    return Reading(_named_or_rows(takes, document["inputs"]))


def write_v1(_reading: Reading, answer: Answer, _model: str, _revision: Revision) -> Reply:
    """One prediction per row."""
    return Reply(encode({"predictions": by_rows(answer)}))


def error_v1(_code: str, message: str) -> bytes:
    """TensorFlow's error."""
    return encode({"error": message})


# --- MLflow -------------------------------------------------------------------------------------------------------


def read_invocation(body: bytes, headers: Mapping[bytes, bytes], takes: Takes) -> Reading:
    """One of the four forms in JSON, or CSV with a line of names. Raises Invalid."""
    content_type, _, _parameters = headers.get(b"content-type", b"application/json").partition(b";")
    if content_type.strip().lower() in {b"text/csv", b"application/csv"}:
        return Reading(_csv(takes, body))
    if content_type.strip().lower() not in {b"application/json", b""}:
        raise Invalid(
            f"This predictor only supports the following content types: Types: ['text/csv', 'application/json']."
            f" Got '{content_type.decode(errors='replace')}'.",
            path="content-type",
        )
    document = _document(body)
    named = [name for name in _FORMS if name in document]
    if len(named) != 1:
        raise Invalid(
            "The input must be a JSON dictionary with exactly one of the input fields"
            f" {sorted(_FORMS)}. Received dictionary with input fields: {sorted(document)}.",
            path="body",
        )
    given = document[named[0]]
    params = document.get("params") or {}
    return Reading(_invoked(takes, named[0], given), parameters=params if isinstance(params, dict) else {})


def _invoked(takes: Takes, form: str, given: Any) -> Asked:
    if form == "dataframe_split":
        if not isinstance(given, dict) or not isinstance(given.get("data"), list):
            raise Invalid("dataframe_split is an object with columns and data", path=form)
        names = given.get("columns")
        if names is not None and not isinstance(names, list):
            raise Invalid("the columns of dataframe_split are a list of names", path=form)
        return takes.rows(None if names is None else [str(name) for name in names], given["data"])
    if form == "dataframe_records":
        if not isinstance(given, list) or not all(isinstance(row, dict) for row in given):
            raise Invalid("dataframe_records is a list of objects", path=form)
        return _records(takes, given)
    if form == "instances":
        return _records_or_rows(takes, given, form)
    return _named_or_rows(takes, given)


def _records(takes: Takes, records: list[dict[str, Any]]) -> Asked:
    if not records:
        raise Invalid("there are no rows", path="body")
    first = records[0]
    names = [name for name in takes.names if name in first] if takes.table else list(first)
    missing = takes.names if takes.table and not names else ()
    if missing:
        raise Invalid(f"the model is missing inputs {list(missing)}", path="inputs")
    try:
        rows = [[row[name] for name in names] for row in records]
    except KeyError as error:
        raise Invalid(f"a row has no {error}", path="body") from None
    if not takes.table and takes.inputs:
        columns = zip(*rows, strict=True)
        return takes.tensors([(name, "", None, list(values)) for name, values in zip(names, columns, strict=True)])
    return takes.rows(names, rows)


def _records_or_rows(takes: Takes, given: Any, form: str) -> Asked:
    if not isinstance(given, list) or not given:
        raise Invalid(f"{form} is a list with one entry per row", path=form)
    if isinstance(given[0], dict):
        if not all(isinstance(row, dict) for row in given):
            raise Invalid(f"{form} mixes objects and lists", path=form)
        return _records(takes, given)
    return _rows(takes, given)


def _rows(takes: Takes, given: list[Any]) -> Asked:
    if takes.inputs and not takes.table and len(takes.inputs) == 1:
        only = takes.inputs[0]
        return takes.tensors([(only.name, only.datatype, None, given)])
    rows = given if isinstance(given[0], list) else [[value] for value in given]
    return takes.rows(None, rows)


def _named_or_rows(takes: Takes, given: Any) -> Asked:
    if isinstance(given, list) and given:
        return _records_or_rows(takes, given, "inputs")
    if not isinstance(given, dict) or not given:
        raise Invalid("inputs is a list of rows, or an object of named columns", path="inputs")
    if not all(isinstance(values, list) for values in given.values()):
        raise Invalid("each of the named inputs is a list", path="inputs")
    if takes.inputs and not takes.table:
        kinds = {each.name: each.datatype for each in takes.inputs}
        return takes.tensors([(name, kinds.get(name, "FP64"), None, values) for name, values in given.items()])
    if len({len(values) for values in given.values()}) != 1:
        raise Invalid("the inputs have not the same number of rows", path="inputs")
    return takes.rows(list(given), [list(row) for row in zip(*given.values(), strict=True)])


def _csv(takes: Takes, body: bytes) -> Asked:
    try:
        lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Invalid(f"the table cannot be read: {error}", path="body") from None
    if len(lines) < 2:
        raise Invalid("the table has no rows", path="body")
    names, *rows = [line for line in lines if line]
    kinds = {each.name: each.datatype for each in takes.inputs}
    return takes.rows(
        names, [[_parsed(value, kinds.get(name)) for name, value in zip(names, row, strict=False)] for row in rows]
    )


def _parsed(text: str, datatype: str | None) -> Any:
    """A field of a table. Numbers only where the signature does not say that it is a text."""
    if datatype == "BYTES":
        return text
    if text == "":
        return None
    if datatype == "BOOL":
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return json.loads(text) if datatype is None else int(text) if "INT" in datatype else float(text)
    except ValueError:
        return text


def write_invocation(_reading: Reading, answer: Answer, _model: str, _revision: Revision) -> Reply:
    """What MLflow's server would have written."""
    if answer.form == "arrays":
        return Reply(encode({"predictions": {each.name: each.nested() for each in answer.arrays}}))
    return Reply(encode({"predictions": by_rows(answer)}))


_CODES = {
    "denied": "PERMISSION_DENIED",
    "invalid": "BAD_REQUEST",
    "not_found": "RESOURCE_DOES_NOT_EXIST",
    "rate_limited": "REQUEST_LIMIT_EXCEEDED",
    "too_many_requests": "REQUEST_LIMIT_EXCEEDED",
    "unauthenticated": "UNAUTHENTICATED",
    "unavailable": "TEMPORARILY_UNAVAILABLE",
}


def error_invocation(code: str, message: str) -> bytes:
    """MLflow's error."""
    return encode({"error_code": _CODES.get(code, "INTERNAL_ERROR"), "message": message})


V1 = Dialect("v1", read_v1, write_v1, error_v1)
INVOCATIONS = Dialect("invocations", read_invocation, write_invocation, error_invocation)
