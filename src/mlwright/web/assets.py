"""Static files: one address per content, so that browsers keep them for good; compressed where it pays."""

import gzip
import hashlib
import mimetypes
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.errors import NotFound
from mlwright.kernel.http import Route

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain"}
_LEAST_GZIP_BYTES = 1_000
_FOREVER = "public, max-age=31536000, immutable"
_CALL = re.compile(r"""\bt\(\s*("(?:[^"\\]|\\.)*")""")


class Assets:
    """The files below `folder`, addressed as /static/<digest of all of them>/<name>.

    One digest for the whole tree: scripts import each other by relative paths, so they must change address together.
    """

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
        }
        digest = hashlib.sha256()
        for name, path in self._files.items():
            digest.update(name.encode() + b"\0" + path.read_bytes())
        self.digest = digest.hexdigest()[:16]
        self._compressed: dict[str, bytes] = {}

    def url(self, name: str) -> str:
        """The address of a file. Raises KeyError when there is no such file: a mistake in a template."""
        if name not in self._files:
            raise KeyError(name)
        return f"/static/{self.digest}/{name}"

    def routes(self) -> list[Route]:
        return [Route("GET", "/static/{digest}/{name:path}", self.serve)]

    async def serve(self, request: Request) -> Response:
        """One file. Files of another release are served as they are now, and not kept."""
        name: str = request.path_params["name"]
        path = self._files.get(name)
        if path is None:
            raise NotFound(f"There is no static file {name!r}")
        current = request.path_params["digest"] == self.digest
        etag = f'"{self.digest}"'
        headers = {
            "etag": etag,
            "cache-control": _FOREVER if current else "no-cache",
            "vary": "accept-encoding",
            "x-content-type-options": "nosniff",
        }
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        kind = _TYPES.get(path.suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        if "gzip" in request.headers.get("accept-encoding", "") and kind.startswith(("text/", "image/svg")):
            body = self._gzip(name, path)
            if body is not None:
                return Response(body, headers={**headers, "content-encoding": "gzip"}, media_type=kind)
        return Response(path.read_bytes(), headers=headers, media_type=kind)

    def _gzip(self, name: str, path: Path) -> bytes | None:
        body = self._compressed.get(name)
        if body is None:
            content = path.read_bytes()
            if len(content) < _LEAST_GZIP_BYTES:
                return None
            body = self._compressed[name] = gzip.compress(content, 6)
        return body

    def script_texts(self) -> frozenset[str]:
        """The English texts that our scripts show: the first arguments of t("…")."""
        found: set[str] = set()
        for name, path in self._files.items():
            if name.startswith("js/"):
                found.update(texts_in(path.read_text(encoding="utf-8")))
        return frozenset(found)


def texts_in(source: str) -> list[str]:
    """The literal texts that a template or script passes to t("…")."""
    return [match[1:-1].replace('\\"', '"') for match in _CALL.findall(source)]
