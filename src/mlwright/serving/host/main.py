"""Runs a serving host: `python -m mlwright.serving.host.main FOLDER --listen FD --ready FD`.

FOLDER holds `state.json`, what is to be served, and the control plane's socket `control.sock`. `--listen` is the
listening socket, which the keeper (`programs/host_keeper.py`) owns: while a host is replaced, clients that connect wait
in its queue. `--ready` is a pipe: a byte is written to it once all is loaded and clients are let in. `--grpc` is
another listening socket, for gRPC.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from mlwright.kernel.protocol import Protocol
from mlwright.serving.host import metrics, sockets
from mlwright.serving.host.app import Predictions
from mlwright.serving.host.control import Control, Host
from mlwright.serving.host.hosted import Hosted
from mlwright.serving.host.places import WorkerPlaces
from mlwright.serving.host.recording import Recorder

if TYPE_CHECKING:
    from mlwright.serving.host.grpc.server import GrpcServer

_log = logging.getLogger(__name__)

#: After the last connection was accepted: requests on sockets that were accepted but not read yet still arrive.
_DRAIN_S = 0.3
#: How long clients that keep their connection may take for the request after which they are told to use another.
_RETIRE_S = 5.0
#: How long requests in progress may take once the host is to end.
_LAST_S = 30.0
#: Threads in the models' own libraries compete with all that is served beside them.
_ALONE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
#: Models are loaded in threads, and the C library would keep memory for each: half a megabyte more for every model.
_ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR", "CUDA_VISIBLE_DEVICES")


class Listening:
    """Connections of one application."""

    def __init__(self, app: ASGIApp) -> None:
        self._config = uvicorn.Config(app, lifespan="off", access_log=False, proxy_headers=False, timeout_keep_alive=75)
        self._config.load()
        self._state = ServerState()
        self._server: Any = None

    def protocol(self) -> Protocol:
        return Protocol(self._config, self._state, {})

    async def accept(self, sock: socket.socket) -> None:
        """Let clients in from now on."""
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(self.protocol, sock=sock)
        else:
            self._server = await loop.create_server(self.protocol, sock=sock, backlog=2_048)

    def _connections(self) -> list[Protocol]:
        return [each for each in self._state.connections if isinstance(each, Protocol)]

    async def drain(self) -> None:
        """Accept nobody new, answer what was asked, and close.

        A connection that is closed while its client sends a request fails that request, so each ends with an answer.
        """
        self._server.close()
        await asyncio.sleep(_DRAIN_S)
        for connection in self._connections():
            connection.retire()
        for _ in range(round(_RETIRE_S / _DRAIN_S)):
            if self._state.connections:
                await asyncio.sleep(_DRAIN_S)
        for connection in self._connections():
            connection.shutdown()
        for _ in range(round(_LAST_S / _DRAIN_S)):
            if self._state.connections:
                await asyncio.sleep(_DRAIN_S)


async def serve(folder: Path, listen: socket.socket, ready: int, grpc: socket.socket | None) -> None:
    """Serve until a signal says that it is enough. Over gRPC too where there is a socket for it."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stopped.set)
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _ALONE | _ONE_HEAP
    places = WorkerPlaces(environment, sys.stderr.fileno())
    recorder = Recorder(folder / "predictions", time.perf_counter)
    hosted = Hosted(recorder, time.perf_counter)
    host = Host(hosted, places, folder / "state.json", time.perf_counter, f"{os.getpid()}-{time.time_ns()}")
    await host.start()
    measured = partial(metrics.text, recorder, places, host.capacity)
    predictions = Predictions(hosted, measured)
    clients, control = Listening(predictions), Listening(Control(host, predictions.ask))
    others = await _grpc(predictions, folder, grpc) if grpc is not None else None
    await clients.accept(listen)
    await control.accept(sockets.listening(folder / "control.sock"))
    os.write(ready, b"1")
    os.close(ready)
    looking = [asyncio.create_task(each) for each in (host.capacity.run(), recorder.run())]
    await stopped.wait()
    await asyncio.gather(*(each.drain() for each in (clients, others) if each is not None))
    for task in looking:
        task.cancel()
    await recorder.close()
    places.close()


async def _grpc(predictions: Predictions, folder: Path, listen: socket.socket) -> "GrpcServer":
    """The server for gRPC, whose libraries are heavy and need not be there."""
    from mlwright.serving.host.grpc.server import GrpcServer

    server = GrpcServer(predictions, predictions.repository, folder)
    await server.accept(listen)
    return server


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--ready", type=int, required=True)
    parser.add_argument("--grpc", type=int)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    grpc = None if given.grpc is None else _inherited(given.grpc)
    uvloop.run(serve(given.folder, _inherited(given.listen), given.ready, grpc))


def _inherited(descriptor: int) -> socket.socket:
    found = socket.socket(fileno=descriptor)
    found.setblocking(False)
    return found


if __name__ == "__main__":
    main()
