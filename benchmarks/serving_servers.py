"""The servers that the serving benchmark compares, each on one core, and the models they serve."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.servers import HOST, KEEP_BYTE_CODE, Server, free_port
from benchmarks.wrk import pinned
from mlwright.serving import programs
from tools.peers import Peer, create, find_uv, is_ready, peers_root

MAKER = Path(__file__).with_name("serving_models.py")
KEEPER = Path(programs.__file__ or "").with_name("host_keeper.py")
_LEARN = "scikit-learn>=1.7,<2"
#: Its runtime of today does not start with uvloop 0.22 and later on Python 3.11.
MLSERVER = Peer("mlserver-1.7", ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop==0.21.0", _LEARN))
#: What our models need, and nothing else.
SKLEARN = Peer("scikit-learn", (_LEARN,))
ONNX = Peer("onnx", ("onnxruntime>=1.23,<2", "skl2onnx>=1.19,<2", _LEARN))


def python_of(peer: Peer) -> Path:
    """The interpreter of an environment that only benchmarks need, made at first use. Raises RuntimeError."""
    root = peers_root()
    if not is_ready(peer, root) and not create(peer, root, find_uv()):
        raise RuntimeError(f"the environment {peer.name} cannot be made from today's index")
    return root / peer.name / "bin" / "python"


@dataclass(frozen=True)
class Models:
    """Copies of a model, written by the environment that is to run them: `folder/0`, `folder/1`, …"""

    folder: Path
    python: Path
    columns: list[str]
    rows: list[list[float]]
    labels: list[int]

    def signature(self) -> dict[str, Any]:
        """Its inputs in MLflow's words."""
        return {"inputs": [{"type": "double", "name": name, "required": True} for name in self.columns]}


def write_models(folder: Path, python: Path, kind: str, copies: int = 1) -> Models:
    """Train and write them, unless they are there. Raises CalledProcessError."""
    command = [str(python), str(MAKER), str(folder), kind, str(copies)]
    environment = {**os.environ, **KEEP_BYTE_CODE, "MLFLOW_DISABLE_TELEMETRY": "true"}
    if not (folder / "rows.json").exists():
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    told = json.loads((folder / "rows.json").read_text())
    return Models(folder, python, told["columns"], told["rows"], told["labels"])


# --- ours ---------------------------------------------------------------------------------------------------------


def revision(models: Models, loader: str, number: int = 1, copy: int = 0) -> dict[str, Any]:
    """A copy of a model as an endpoint serves it; `loader` is "sklearn" or "onnx"."""
    folder = models.folder / str(copy)
    return {
        "number": number,
        "model": "boosting",
        "version": number,
        "folder": str(folder),
        "python": str(models.python),
        "loader": loader,
        "options": {"pickled_model": "model.pkl", "data": "model.onnx"},
        "signature": models.signature(),
        "example": str(folder / "example.json"),
    }


def endpoint(name: str, revisions: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """An endpoint whose stable version is the first of the revisions."""
    return {"name": name, "project": "default", "stable": 1, "revisions": list(revisions), **more}


def host(root: Path, name: str, endpoints: Sequence[Mapping[str, Any]]) -> Server:
    """A serving host with its keeper, on one core; not started."""
    folder, port = root / name, free_port()
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"generation": 1, "endpoints": list(endpoints)}))
    keeper: list[str | Path] = [sys.executable, "-I", KEEPER, folder, HOST, str(port)]
    command: list[str | Path] = [*keeper, "--", sys.executable, "-m", "mlwright.serving.host.main", folder]
    return Server(name, pinned(*command), folder, port, dict(KEEP_BYTE_CODE))


# --- theirs -------------------------------------------------------------------------------------------------------


def mlflow_serve(root: Path, python: Path, model: Path) -> Server:
    """`mlflow models serve` with one worker, on one core; not started."""
    port = free_port()
    command: list[str | Path] = [
        python.parent / "mlflow",
        "models",
        "serve",
        "--env-manager",
        "local",
        "--model-uri",
        model,
    ]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"  # it starts `python`, and wants its own
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": path, **KEEP_BYTE_CODE}
    name = f"mlflow-{model.name}"
    return Server(name, pinned(*command), root / name, port, environment)


def mlserver(root: Path, python: Path, models: Path) -> Server:
    """MLServer with its models in its own process, which is the fastest it has, on one core; not started."""
    ports = {f"MLSERVER_{name}_PORT": str(free_port()) for name in ("HTTP", "GRPC", "METRICS")}
    environment = {
        "MLSERVER_HOST": HOST,
        "MLSERVER_PARALLEL_WORKERS": "0",
        "MLSERVER_DEBUG": "false",
        **ports,
        **KEEP_BYTE_CODE,
    }
    command = pinned(python.parent / "mlserver", "start", models)
    port = int(ports["MLSERVER_HTTP_PORT"])
    return Server("mlserver", command, root / "mlserver", port, environment, health="/v2/health/ready")
