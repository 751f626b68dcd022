"""What the control plane asks of a host, over a UNIX socket: serve this from now on, and what have you counted?

PUT /state (a `Desired`; answered once every version in it that is to get requests has been loaded, or cannot be),
GET /counts, GET /health, POST /ask/NAME (a request of MLflow's protocol, from somebody who may ask).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from mlwright import __version__
from mlwright.kernel.errors import MlwrightError
from mlwright.serving.host.answering import encode
from mlwright.serving.host.app import send_answer
from mlwright.serving.host.capacity import Capacity
from mlwright.serving.host.endpoints import Endpoint
from mlwright.serving.host.hosted import Hosted
from mlwright.serving.host.places import WorkerPlaces
from mlwright.serving.host.state import Desired, Served
from mlwright.serving.host.versions import Version

_log = logging.getLogger(__name__)
_decode = msgspec.json.Decoder(Desired).decode
_ASK = "/ask/"


class Host:
    """What is served, and how it changes. Endpoints change on their own: none waits for what another one loads.

    Args:
        file: where the state is kept, for a host that has to start alone.
        now: seconds that never go back.
        identity: of this host; counts begin at zero with each.

    Attributes:
        capacity: looks after the versions.
    """

    def __init__(
        self, hosted: Hosted, places: WorkerPlaces, file: Path, now: Callable[[], float], identity: str
    ) -> None:
        self.hosted = hosted
        self.capacity = Capacity(lambda: list(hosted.endpoints.values()), places, now)
        self._places = places
        self._file = file
        self._now = now
        self._identity = identity
        self._generation = 0
        self._newest: dict[str, int] = {}
        self._writing = asyncio.Lock()
        self._starts = False

    async def start(self) -> None:
        """Serve what the file says, if there is one."""
        text = await asyncio.to_thread(_read, self._file)
        if text is not None:
            self._starts = True
            await self._apply(_decode(text))
            self._starts = False

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
        self.capacity.most_memory = desired.memory_mib << 20
        self.hosted.metrics_door.change(desired.metrics_keys)
        await asyncio.gather(*(self._bring(served, desired.generation) for served in desired.endpoints))

    async def _bring(self, served: Served, generation: int) -> None:
        """Load what is new before anything changes for clients: switching is then only a look-up."""
        self._newest[served.name] = generation
        endpoint = self.hosted.endpoints.get(served.name)
        if endpoint is None:
            endpoint = self.hosted.endpoints[served.name] = Endpoint(served, self._places, self._now)
        else:
            endpoint.add(served)
        needed = [endpoint.versions[number] for number in {served.stable, served.candidate} - {0}]
        await asyncio.gather(*(self._load(version, endpoint) for version in needed if not version.loaded))
        is_newest = self._newest[served.name] == generation and served.name in self.hosted.endpoints
        if is_newest and self.hosted.endpoints[served.name] is endpoint:
            endpoint.apply(served)

    async def _load(self, version: Version, endpoint: Endpoint) -> None:
        """Load a version, unless it may as well rest until it is asked."""
        if self._starts and (endpoint.served.scaling.min == 0 or self.capacity.is_full):
            version.scale(0)
        if version.replicas == 0 and not endpoint.stable.loaded:
            return
        try:
            await version.load()
        except MlwrightError as error:
            _log.warning("%s cannot be loaded: %s", version.name, error.message)

    def document(self) -> dict[str, Any]:
        """All counts."""
        return {
            "host": self._identity,
            "release": __version__,
            "generation": self._generation,
            "failures": {
                version.name: version.problem
                for endpoint in self.hosted.endpoints.values()
                for version in endpoint.versions.values()
                if version.problem
            },
            "memory_bytes": self.capacity.memory,
            "evictions": self.capacity.evictions,
            "predictions_logged": dict(self.hosted.recorder.written),
            "predictions_dropped": dict(self.hosted.recorder.dropped),
            "endpoints": [endpoint.document() for endpoint in self.hosted.endpoints.values()],
        }


class Control:
    """The ASGI application on the socket.

    Args:
        host: what is asked about.
        ask: asks an endpoint, without a key.
    """

    def __init__(self, host: Host, ask: Callable[[str, bytes], Awaitable[tuple[int, bytes]]]) -> None:
        self._host = host
        self._ask = ask

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        match scope["method"], scope["path"]:
            case "PUT", "/state":
                try:
                    await self._host.change(await _body(receive))
                except msgspec.DecodeError as error:
                    await send_answer(send, 400, encode({"error": str(error)}))
                    return
                await send_answer(send, 200, encode(self._host.document()))
            case "POST", path if path.startswith(_ASK):
                await send_answer(send, *await self._ask(path.removeprefix(_ASK), await _body(receive)))
            case "GET", "/counts":
                await send_answer(send, 200, encode(self._host.document()))
            case "GET", "/health":
                await send_answer(send, 200, b"{}")
            case _:
                await send_answer(send, 404, encode({"error": "unknown"}))


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _read(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None


def _write(file: Path, text: bytes) -> None:
    """Atomically; it need not survive a power failure, after which the control plane says it again."""
    new = file.with_suffix(".new")
    new.write_bytes(text)
    new.replace(file)
