"""A platform with the pages of tracking and a few runs, spoken to without a network."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.artifacts import service as artifacts
from mlwright.kernel.identity import LOCAL, Caller
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import experiments, runs
from mlwright.tracking.service.owners import TrackingOwners
from mlwright.tracking.spec import Metric, Param, RunStatus, Tag

T = TypeVar("T")
#: Text that breaks a page which does not escape it.
HOSTILE = "<script>alert(1)</script>\"'&\u202e"


class As:
    """ASGI middleware: everyone is `caller`."""

    def __init__(self, app: ASGIApp, caller: Caller) -> None:
        self._app = app
        self._caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "caller": self._caller}, receive, send)


class World:
    """Args:
    folder: of the platform's data.
    """

    def __init__(self, folder: Path) -> None:
        self.platform = Platform(Settings(data=folder))
        self._router = self.platform.router()

    def close(self) -> None:
        self.platform.close()

    def write(self, work: Callable[[Tx], T]) -> T:
        return self.platform.database.write_now(work)

    def experiment(self, name: str, *tags: Tag) -> int:
        return self.write(lambda tx: experiments.create(tx, LOCAL, name, tags=tags))

    def run(
        self,
        experiment: int,
        name: str,
        metrics: dict[str, float] | None = None,
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
        start_ms: int = 1_700_000_000_000,
    ) -> str:
        """A finished run; returns its id."""

        def work(tx: Tx) -> str:
            pairs = [Tag(key, value) for key, value in (tags or {}).items()]
            run = runs.create(tx, LOCAL, experiment, "ada", start_ms, name, pairs)
            run_id = run.info.run_id
            logged = [Metric(key, value, start_ms, 0) for key, value in (metrics or {}).items()]
            runs.log_batch(tx, LOCAL, run_id, logged, [Param(*pair) for pair in (params or {}).items()], [])
            runs.update_info(tx, LOCAL, run_id, RunStatus.FINISHED, start_ms + 65_000)
            return run_id

        return self.write(work)

    def put(self, run_id: str, path: str, content: bytes) -> None:
        """Store an artifact of a run."""
        writer = self.platform.blobs.writer()
        writer.write(content)
        blob = writer.commit()

        def work(tx: Tx) -> None:
            root = runs.find(tx, LOCAL, run_id).info.artifact_uri
            artifacts.put(tx, LOCAL, TrackingOwners(), artifacts.resolve(root, path), blob)

        self.write(work)

    def get(self, path: str, caller: Caller = LOCAL, **headers: str) -> httpx.Response:
        """A page as a browser asks for it."""
        return self._send("GET", path, None, caller, headers)

    def post(self, path: str, form: Mapping[str, object], caller: Caller = LOCAL) -> httpx.Response:
        """A form as a browser posts it; redirects are not followed."""
        return self._send("POST", path, form, caller, {})

    def _send(
        self, method: str, path: str, form: Mapping[str, object] | None, caller: Caller, headers: dict[str, str]
    ) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=As(self._router, caller))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, data=form, headers={"accept": "text/html", **headers})

        return asyncio.run(send())
