"""What the control plane asks of a host, over a UNIX socket: serve this from now on, and what have you counted?

PUT /state (a `Desired`; answered once every version in it that is to get requests has been loaded, or cannot be),
GET /counts, GET /health.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from mlwright.kernel.errors import MlwrightError
from mlwright.serving.host.answering import encode
from mlwright.serving.host.app import send_answer
from mlwright.serving.host.endpoints import Endpoint
from mlwright.serving.host.hosted import Hosted
from mlwright.serving.host.state import Desired, Served
from mlwright.serving.host.versions import Version, WorkerPlaces

_log = logging.getLogger(__name__)
_decode = msgspec.json.Decoder(Desired).decode


class Host:
    """What is served, and how it changes. Endpoints change on their own: none waits for what another one loads.

    Args:
        file: where the state is kept, for a host that has to start alone.
        now: seconds that never go back.
        identity: of this host; counts begin at zero with each.

    Attributes:
        failures: why a revision cannot be loaded, by its name.
    """

    def __init__(
        self, hosted: Hosted, places: WorkerPlaces, file: Path, now: Callable[[], float], identity: str
    ) -> None:
        self.hosted = hosted
        self.failures: dict[str, str] = {}
        self._places = places
        self._file = file
        self._now = now
        self._identity = identity
        self._generation = 0
        self._newest: dict[str, int] = {}
        self._writing = asyncio.Lock()

    async def start(self) -> None:
        """Serve what the file says, if there is one."""
        text = await asyncio.to_thread(_read, self._file)
        if text is not None:
            await self._apply(_decode(text))

    async def change(self, text: bytes) -> None:
        """Serve this from now on, also after a restart. What is older than what is served is ignored.

        New versions are loaded before the first request goes to them; one that cannot be loaded gets none, unless it is
        all there is. Raises msgspec.DecodeError.
        """
        desired = _decode(text)
        async with self._writing:
            if desired.generation < self._generation:
                return
            self._generation = desired.generation
            await asyncio.to_thread(_write, self._file, text)
        await self._apply(desired)

    async def _apply(self, desired: Desired) -> None:
        wanted = {served.name for served in desired.endpoints}
        for name in self.hosted.endpoints.keys() - wanted:
            self.hosted.endpoints.pop(name).close()
        self._generation = desired.generation
        await asyncio.gather(*(self._bring(served, desired.generation) for served in desired.endpoints))

    async def _bring(self, served: Served, generation: int) -> None:
        """Load what is new before anything changes for clients: switching is then only a look-up."""
        self._newest[served.name] = generation
        endpoint = self.hosted.endpoints.get(served.name)
        if endpoint is None:
            endpoint = self.hosted.endpoints[served.name] = Endpoint(served, self._places, self._now)
        else:
            endpoint.add(served)
        missing = [
            endpoint.versions[number]
            for number in {served.stable, served.candidate} - {0}
            if not endpoint.versions[number].loaded
        ]
        await asyncio.gather(*(self._load(version) for version in missing))
        is_newest = self._newest[served.name] == generation and served.name in self.hosted.endpoints
        if is_newest and self.hosted.endpoints[served.name] is endpoint:
            endpoint.apply(served)

    async def _load(self, version: Version) -> None:
        try:
            await version.load()
            self.failures.pop(version.name, None)
        except MlwrightError as error:
            self.failures[version.name] = error.message
            _log.warning("%s cannot be loaded: %s", version.name, error.message)

    def document(self) -> dict[str, Any]:
        """All counts."""
        return {
            "host": self._identity,
            "generation": self._generation,
            "failures": self.failures,
            "endpoints": [endpoint.document() for endpoint in self.hosted.endpoints.values()],
        }


class Control:
    """The ASGI application on the socket."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        match scope["method"], scope["path"]:
            case "PUT", "/state":
                parts = []
                while True:
                    message = await receive()
                    parts.append(message.get("body", b""))
                    if not message.get("more_body"):
                        break
                try:
                    await self._host.change(b"".join(parts))
                except msgspec.DecodeError as error:
                    await send_answer(send, 400, encode({"error": str(error)}))
                    return
                await send_answer(send, 200, encode(self._host.document()))
            case "GET", "/counts":
                await send_answer(send, 200, encode(self._host.document()))
            case "GET", "/health":
                await send_answer(send, 200, b"{}")
            case _:
                await send_answer(send, 404, encode({"error": "unknown"}))


def _read(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None


def _write(file: Path, text: bytes) -> None:
    """Atomically; it need not survive a power failure, after which the control plane says it again."""
    new = file.with_suffix(".new")
    new.write_bytes(text)
    new.replace(file)
