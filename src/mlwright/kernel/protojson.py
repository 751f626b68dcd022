"""The dialect of MLflow's REST services, shared by all slices that speak it: requests, answers, errors.

Messages are protobuf messages in JSON: integers may be strings, NaN is a string, unset fields are left out.
"""

from collections.abc import Iterable, Mapping
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.errors import GateClosed, Invalid, MlwrightError, Unauthenticated, Unavailable
from mlwright.kernel.http import JsonResponse, Route, read_body

T = TypeVar("T")

#: Our error codes as MLflow's, and the HTTP status that MLflow's clients expect with it.
_ERRORS: dict[str, tuple[str, int]] = {
    "invalid": ("INVALID_PARAMETER_VALUE", 400),
    "too_large": ("INVALID_PARAMETER_VALUE", 400),
    "not_found": ("RESOURCE_DOES_NOT_EXIST", 404),
    "already_exists": ("RESOURCE_ALREADY_EXISTS", 400),
    "conflict": ("INVALID_STATE", 400),
    "immutable": ("INVALID_STATE", 409),
    "gate_closed": ("PERMISSION_DENIED", 403),
    "unauthenticated": ("UNAUTHENTICATED", 401),
    "denied": ("PERMISSION_DENIED", 403),
    "unavailable": ("TEMPORARILY_UNAVAILABLE", 503),
    "too_many_attempts": ("REQUEST_LIMIT_EXCEEDED", 429),
    "untrusted": ("INVALID_PARAMETER_VALUE", 400),
    "no_environment": ("INVALID_PARAMETER_VALUE", 400),
    "storage_full": ("RESOURCE_EXHAUSTED", 507),
    "unsupported": ("NOT_IMPLEMENTED", 501),
    "method_not_allowed": ("BAD_REQUEST", 405),
}

#: What MLflow appends to complaints about a single parameter.
HINT = " See the API docs for more information about request parameters."
_encoder = msgspec.json.Encoder()


def show_error(error: MlwrightError) -> Response:
    """An error as MLflow's clients know it: error_code and message."""
    code, status = _ERRORS.get(error.code, ("INTERNAL_ERROR", 500))
    # Other texts are MLflow's own, word by word.
    hinted = error.hint and (status == 401 or status >= 500 or isinstance(error, GateClosed))
    message = f"{error.message} Hint: {error.hint}" if hinted else error.message
    response = JsonResponse(_encoder.encode({"error_code": code, "message": message}), status)
    if isinstance(error, Unavailable):
        response.headers["retry-after"] = str(error.retry_after_s)
    if isinstance(error, Unauthenticated):
        response.headers["www-authenticate"] = 'Basic realm="mlflow"'
    return response


def answer(value: object = None) -> JsonResponse:
    """A successful answer; `{}` when there is nothing to say."""
    return JsonResponse(b"{}" if value is None else _encoder.encode(value))


def missing_value(path: str) -> Invalid:
    """MLflow's error for a request field that is not there."""
    return Invalid(f"Missing value for required parameter '{path}'.{HINT}", path=path)


def both(method: str, path: str, handler: Any, versions: Iterable[str] = ("2.0",)) -> list[Route]:
    """The same operation under /api and /ajax-api, for each protocol version."""
    return [
        Route(method, f"/{root}/{version}/mlflow/{path}", handler)
        for root in ("api", "ajax-api")
        for version in versions
    ]


def number(value: float) -> float | str:
    """A double as protobuf's JSON writes it: NaN and infinities are strings."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value


async def decode(request: Request, kind: type[T]) -> T:
    """The request's message: query parameters of a GET, JSON of anything else.

    Integers may be strings, doubles may be "NaN" and "Infinity", unknown fields are ignored. Raises Invalid with
    MLflow's text, naming the outermost parameter that is wrong.
    """
    if request.method in {"GET", "HEAD"}:
        return _from_query(request, kind)
    body = await read_body(request)
    try:
        return msgspec.json.decode(body or b"{}", type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong_type(error, _json(body)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error) from error


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error) from error


def _not_json(error: Exception) -> Invalid:
    return Invalid(f"The request body is not valid JSON: {error}")


def _from_query(request: Request, kind: type[T]) -> T:
    lists = _list_fields(kind)
    query = request.query_params
    values: dict[str, Any] = {name: query.getlist(name) if name in lists else query[name] for name in query}
    try:
        return msgspec.convert(values, type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong_type(error, values) from error


def _list_fields(kind: type[Any]) -> set[str]:
    return {name for name, hint in get_type_hints(kind).items() if _is_list(hint)}


def _is_list(hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_is_list(each) for each in get_args(hint) if each is not NoneType)
    return get_origin(hint) is list


def _wrong_type(error: msgspec.ValidationError, document: Any) -> Invalid:
    """MLflow's words for a value of the wrong type."""
    path = str(error).partition(" - at ")[2].strip("`").removeprefix("$").removeprefix(".")
    name = path.partition(".")[0].partition("[")[0]
    if not name or not isinstance(document, Mapping):
        return Invalid(f"The request is not understood: {error}")
    value = document.get(name)
    text = msgspec.json.encode(value).decode()
    if len(text) > 300:
        text = text[:300] + "…"
    where = f" at {path}" if path != name else ""
    return Invalid(
        f"Invalid value {text} for parameter '{name}' supplied:  Hint: Value was of type"
        f" '{type(value).__name__}'{where}.{HINT}",
        path=path,
    )


def required(name: str, value: T | None) -> T:
    """The value, unless it is missing or empty. Raises Invalid with MLflow's text."""
    if value is None or value == "":
        raise missing_value(name)
    return value
