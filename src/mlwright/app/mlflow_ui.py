"""MLflow's own web UI: the static files of an MLflow installation, served at /mlflow-ui/ against our API."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from mlwright.artifacts.spec import safe_path
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.http import Face, Route, problem

PREFIX = "/mlflow-ui/"
#: The UI calls its server with relative URLs; these paths below the prefix mean the server's own.
API_PATHS = ("ajax-api/", "api/", "graphql", "get-artifact", "model-versions/get-artifact", "version", "health")


def face(build: Path) -> Face:
    """Routes for the folder `mlflow/server/js/build` of an MLflow installation. Raises Invalid when it is none."""
    if not (build / "index.html").is_file():
        raise Invalid(
            f"{build} has no index.html",
            path="--mlflow-ui",
            hint="give the folder mlflow/server/js/build of an MLflow installation",
        )

    files = {str(path.relative_to(build)): path for path in build.rglob("*") if path.is_file()}

    async def index(request: Request) -> Response:
        return FileResponse(build / "index.html", headers={"cache-control": "no-cache"})

    async def bare(request: Request) -> Response:
        return RedirectResponse(PREFIX)

    async def static(request: Request) -> Response:
        path = files.get(safe_path(request.path_params["path"]))
        if path is None:
            raise NotFound("There is no such file")
        return FileResponse(path, headers={"cache-control": "max-age=2419200"})

    return Face(
        [
            Route("GET", PREFIX, index),
            Route("GET", PREFIX.rstrip("/"), bare),
            Route("GET", f"{PREFIX}static-files/{{path:path}}", static),
        ],
        problem,
    )


def server_path(path: str) -> str:
    """The path that a request of MLflow's UI means; any other path is returned as it is."""
    rest = path.removeprefix(PREFIX)
    return f"/{rest}" if rest != path and rest.startswith(API_PATHS) else path
