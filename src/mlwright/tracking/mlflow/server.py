"""MLflow's routes about the server itself, and its answer to what mlwright does not offer."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from mlwright.kernel.errors import NotFound, Unsupported
from mlwright.kernel.http import Route
from mlwright.kernel.protojson import answer

#: The version of MLflow whose protocol this server speaks.
PROTOCOL_VERSION = "3.17.2"

#: Parts of MLflow's protocol that are not offered. Their clients get MLflow's NOT_IMPLEMENTED, not a page of HTML.
_BEYOND = (
    "assessments assistant datasets demo endpoint experiments/permissions gateway gateway-proxy issues jobs"
    " label-schemas mcp-servers presigned prompt-optimization prompts review-queues"
    " scorers traces ui-telemetry users workspaces"
).split()


async def health(request: Request) -> Response:
    """The server accepts requests."""
    return PlainTextResponse("OK")


async def version(request: Request) -> Response:
    """The version of MLflow's protocol."""
    return PlainTextResponse(PROTOCOL_VERSION)


async def info(request: Request) -> Response:
    """What MLflow's clients and web UI ask a server about itself."""
    return answer(
        {
            "store_type": "SqlStore",
            "workspaces_enabled": False,
            "trace_archival_enabled": False,
            "multipart_uploads_enabled": False,  # they work, but parts are written twice: one stream is faster
            "multipart_downloads_enabled": False,
            "presigned_upload_run_id_supported": False,
            "presigned_upload_model_id_supported": False,
            "features_enabled": {"gateway": False},
        }
    )


async def no_traces(request: Request) -> Response:
    """OpenTelemetry's endpoint, to which MLflow's clients send traces."""
    raise Unsupported("mlwright does not take traces")


async def beyond(request: Request) -> Response:
    """Everything else under MLflow's paths."""
    path = request.path_params["path"]
    if any(path == name or path.startswith(name + "/") for name in _BEYOND):
        raise Unsupported(f"mlwright does not offer this part of MLflow: {request.method} {path}")
    raise NotFound(f"There is no MLflow endpoint {request.method} {path}")


def routes() -> list[Route]:
    """The server's own routes, and the fallback for all MLflow paths."""
    found = [
        Route("GET", "/health", health),
        Route("GET", "/version", version),
        Route("POST", "/v1/traces", no_traces),
    ]
    for root in ("api", "ajax-api"):
        for number in ("2.0", "3.0"):
            found.append(Route("GET", f"/{root}/{number}/mlflow/server-info", info))
            found += [
                Route(method, f"/{root}/{number}/{part}/{{path:path}}", beyond)
                for part in ("mlflow", "mlflow-artifacts")
                for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
            ]
    return found
