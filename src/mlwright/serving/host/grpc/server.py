"""The Open Inference Protocol over gRPC, on a port of its own.

Its requests are answered as those over HTTP are (`app.py`): what holds for one holds for the other.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from mlwright.kernel.errors import Invalid, MlwrightError
from mlwright.serving.host import sockets
from mlwright.serving.host.app import Predictions, refusal
from mlwright.serving.host.grpc.messages import KINDS
from mlwright.serving.host.grpc.relay import Relay
from mlwright.serving.host.grpc.tensors import dialect, parameters
from mlwright.serving.host.repository import Repository

_SOCKET = "grpc.sock."
#: Characters of what is said about an error: clients take a few kilobytes beside an answer.
_MOST_SAID = 1_000
#: Of one message; that of an endpoint may be lower.
MOST_BYTES = 64 << 20
#: Requests under way at once; more are told to come again.
_MOST_REQUESTS = 4_096
#: How long requests in progress may take once the host is to end.
_LAST_S = 30.0
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
#: Headers that mean something only over HTTP.
_NOT_OURS = frozenset(
    {b"accept-encoding", b"content-encoding", b"content-length", b"content-type", b"inference-header-content-length"}
)
_TIMEOUT = b"x-request-timeout-ms"
_MOST_TIMEOUT_MS = 600_000
_SERVING, _NOT_SERVING = 1, 2

_Method = Callable[[bytes, Any], Awaitable[bytes]]
Headers = dict[bytes, bytes]


class GrpcServer:
    """Args:
    predictions: answer requests for them; `repository` all others.
    folder: for its socket.
    """

    def __init__(self, predictions: Predictions, repository: Repository, folder: Path) -> None:
        self._predictions = predictions
        self._repository = repository
        self._path = _place(folder)
        self._open = contextlib.ExitStack()
        self._relay: Relay | None = None
        options = [
            ("grpc.max_receive_message_length", MOST_BYTES),
            ("grpc.max_send_message_length", -1),
        ]
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=_MOST_REQUESTS)
        inference: dict[str, _Method] = {"ModelInfer": self._infer}
        inference |= {name: self._told(method) for name, method in self._documents().items()}
        self._serve("inference.GRPCInferenceService", inference)
        self._serve("grpc.health.v1.Health", {"Check": self._told(self._health)})

    def _serve(self, service: str, methods: dict[str, _Method]) -> None:
        handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))

    async def accept(self, sock: socket.socket) -> None:
        """Let clients in from now on."""
        path = Path(self._open.enter_context(sockets.short_name(self._path)))
        self._server.add_insecure_port(f"unix:{path}")
        await self._server.start()
        self._relay = Relay(path)
        await self._relay.accept(sock)

    async def drain(self) -> None:
        """Accept nobody new, tell clients to connect again, and end when all that was asked is answered."""
        if self._relay is not None:
            await self._relay.drain(_LAST_S)
        await self._server.stop(None)
        self._open.close()
        self._path.unlink(missing_ok=True)

    # --- predictions -------------------------------------------------------------------------------------------

    async def _infer(self, body: bytes, context: Any) -> bytes:
        answered: asyncio.Future[tuple[int, list[tuple[bytes, bytes]], bytes]]
        answered = asyncio.get_running_loop().create_future()

        def answer(*given: Any) -> None:
            if not answered.done():  # else the client waits no longer
                answered.set_result(given)

        try:
            message = KINDS["ModelInferRequest"].read(body)
        except Invalid as error:
            return await _abort(context, error)
        self._predictions.begin(
            dialect(message), message.model_name, message.model_version, _headers(context), body, answer
        )
        status, headers, found = await answered
        named = [(name.decode(), value.decode("latin-1")) for name, value in headers if name not in _NOT_OURS]
        if status != 200:
            context.set_trailing_metadata(named)
            await context.abort(_CODES.get(status, grpc.StatusCode.INTERNAL), found.decode()[:_MOST_SAID])
        context.set_trailing_metadata(named)
        return found

    # --- everything else ---------------------------------------------------------------------------------------

    def _documents(self) -> dict[str, Callable[[bytes, Headers], Awaitable[bytes]]]:
        return {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }

    def _told(self, method: Callable[[bytes, Headers], Awaitable[bytes]]) -> _Method:
        async def told(body: bytes, context: Any) -> bytes:
            try:
                return await method(body, _headers(context))
            except Exception as error:  # the boundary of a request: a defect of ours is told as such
                return await _abort(context, error)

        return told

    async def _live(self, _body: bytes, _headers: Headers) -> bytes:
        return KINDS["ServerLiveResponse"].write(live=True)

    async def _ready(self, _body: bytes, _headers: Headers) -> bytes:
        return KINDS["ServerReadyResponse"].write(ready=self._repository.ready())

    async def _health(self, body: bytes, _headers: Headers) -> bytes:
        name = KINDS["HealthCheckRequest"].read(body).service
        known = {"", "inference.GRPCInferenceService"}
        is_ready = self._repository.ready() if name in known else self._repository.is_ready(name, "")
        return KINDS["HealthCheckResponse"].write(status=_SERVING if is_ready else _NOT_SERVING)

    async def _server_metadata(self, _body: bytes, _headers: Headers) -> bytes:
        return KINDS["ServerMetadataResponse"].write(**self._repository.server())

    async def _model_ready(self, body: bytes, _headers: Headers) -> bytes:
        asked = KINDS["ModelReadyRequest"].read(body)
        return KINDS["ModelReadyResponse"].write(ready=self._repository.is_ready(asked.name, asked.version))

    async def _model_metadata(self, body: bytes, _headers: Headers) -> bytes:
        asked = KINDS["ModelMetadataRequest"].read(body)
        return KINDS["ModelMetadataResponse"].write(**self._repository.metadata(asked.name, asked.version))

    async def _index(self, body: bytes, _headers: Headers) -> bytes:
        asked = KINDS["RepositoryIndexRequest"].read(body)
        return KINDS["RepositoryIndexResponse"].write(models=self._repository.index(only_ready=asked.ready))

    async def _load(self, body: bytes, headers: Headers) -> bytes:
        asked = KINDS["RepositoryModelRequest"].read(body)
        name = asked.model_name or asked.repository_name
        await self._repository.load(name, parameters(asked.parameters), headers)
        return KINDS["RepositoryModelResponse"].write(model_name=name, done=True)

    async def _unload(self, body: bytes, headers: Headers) -> bytes:
        asked = KINDS["RepositoryModelRequest"].read(body)
        name = asked.model_name or asked.repository_name
        self._repository.unload(name, headers)
        return KINDS["RepositoryModelResponse"].write(model_name=name, done=True)


def _place(folder: Path) -> Path:
    """Where this process listens. What hosts that were killed have left is removed."""
    for left in folder.glob(f"{_SOCKET}*"):
        if not Path("/proc", left.name.removeprefix(_SOCKET)).exists():
            left.unlink(missing_ok=True)
    return folder / f"{_SOCKET}{os.getpid()}"


def _headers(context: Any) -> Headers:
    """What a client said beside its request, as the headers of HTTP would."""
    found: Headers = {}
    for name, value in context.invocation_metadata() or ():
        key = name.encode()
        if key not in _NOT_OURS:
            found[key] = value if isinstance(value, bytes) else value.encode("latin-1", "replace")
    left_s = context.time_remaining()
    if left_s is not None:
        found[_TIMEOUT] = b"%d" % min(max(int(left_s * 1_000), 1), _MOST_TIMEOUT_MS)
    return found


async def _abort(context: Any, error: Exception) -> bytes:
    said = refusal(error)
    await context.abort(_CODES.get(said.status, grpc.StatusCode.INTERNAL), said.message[:_MOST_SAID])
    raise MlwrightError(said.message)  # `abort` has raised
