"""Starts a host: `python -m mlwright.serving.host.main --state FILE --listen HOST:PORT`."""
import argparse, asyncio, os
from pathlib import Path
import msgspec, uvicorn
from mlwright.app.protocol import Protocol
from mlwright.serving.host.app import Hosted, Predictions, now
from mlwright.serving.host.endpoints import Endpoint
from mlwright.serving.host.state import Desired
from mlwright.serving.host.versions import WorkerPlaces

async def serve(state: Path, port: int) -> None:
    places = WorkerPlaces({"OMP_NUM_THREADS": "1", "PATH": os.environ.get("PATH", "")}, 2)
    hosted = Hosted()
    desired = msgspec.json.decode(state.read_bytes(), type=Desired)
    for served in desired.endpoints:
        hosted.endpoints[served.name] = Endpoint(served, places, now)
    for e in hosted.endpoints.values():
        for v in e.versions.values():
            places.watch(v)
            await v.load()
    await uvicorn.Server(uvicorn.Config(Predictions(hosted), port=port, http=Protocol, log_level="warning", lifespan="off", access_log=False)).serve()

if __name__ == "__main__":
    import uvloop
    p = argparse.ArgumentParser(); p.add_argument("--state", type=Path); p.add_argument("--port", type=int)
    a = p.parse_args()
    uvloop.run(serve(a.state, a.port))
