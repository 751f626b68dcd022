"""Virtual environments of the real programs that tests and benchmarks run beside us (MLflow, moto, …).

    python -m tools.peers            create what is missing
    python -m tools.peers --list     say what is there

They are heavy, so they live outside the repository and are shared between clones:
`$MLWRIGHT_PEERS`, else `$XDG_CACHE_HOME/mlwright/peers`, else `~/.cache/mlwright/peers`.
A stamp in each holds the requirements it was made from.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

STAMP = ".mlwright-stamp"
_LIBRARIES = ("scikit-learn>=1.7,<2", "lightgbm>=4.6,<5", "xgboost-cpu>=3,<4", "matplotlib>=3.10,<4", "psutil>=7,<8")


@dataclass(frozen=True)
class Peer:
    """One environment: requirements resolved together, then others added without their dependencies.

    An optional peer may be impossible to install from today's index; that is reported, and is no failure.
    """

    name: str
    requirements: tuple[str, ...]
    without_dependencies: tuple[str, ...] = ()
    optional: bool = False

    @property
    def stamp(self) -> str:
        """The text that says what the environment was made from."""
        return "\n".join((*self.requirements, "--no-deps", *self.without_dependencies))


PEERS = (
    Peer("mlflow-3.17.2", ("mlflow==3.17.2", *_LIBRARIES)),
    # Its server does not start with SQLAlchemy 2.1, which its own requirements allow.
    Peer("mlflow-2.22", ("mlflow==2.22.5", "setuptools<81", "sqlalchemy<2.1", *_LIBRARIES)),
    # 3.18.0 was published without its mlflow-skinny; the full wheel holds the same package.
    Peer("mlflow-3.18", ("mlflow==3.17.2", *_LIBRARIES), ("mlflow==3.18.0",), optional=True),
    Peer("moto", ("moto[server]>=5.1,<6",)),
    # It imports pyOpenSSL, which it does not require.
    Peer("model-signing", ("model-signing==1.1.1", "pyopenssl")),
    # The two known clients of the Open Inference Protocol.
    Peer("inference-clients", ("tritonclient[http,grpc]==2.73.0", "kserve==0.21.0")),
    # What compiles models; skl2onnx puts truth values among whole numbers, which protobuf 7 does not take.
    Peer(
        "onnx-converters",
        (
            "skl2onnx>=1.20,<2",
            "onnxmltools>=1.16,<2",
            "onnxruntime>=1.20,<2",
            "protobuf<7",
            "scikit-learn>=1.7,<2",
            "xgboost-cpu>=3,<4",
            "pandas<3",
        ),
    ),
    # Several gigabytes: the package index has no build of torch for processors only.
    Peer("torch", ("torch>=2.8,<3", "mlflow-skinny==3.17.2", "numpy", "pandas")),
    # It carries the published schemas of workflows, and of Compose.
    Peer("check-jsonschema", ("check-jsonschema>=0.35,<1",)),
    # It carries the published schemas of Kubernetes.
    Peer("kubernetes-validate", ("kubernetes-validate>=1.34,<2",)),
)


def peers_root() -> Path:
    """Return the folder that holds the environments."""
    if named := os.environ.get("MLWRIGHT_PEERS"):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "mlwright" / "peers"


def is_ready(peer: Peer, root: Path) -> bool:
    """True when the environment exists and was made from these requirements."""
    stamp = root / peer.name / STAMP
    return stamp.is_file() and stamp.read_text() == peer.stamp


def create(peer: Peer, root: Path, uv: str) -> bool:
    """Create one environment from nothing; return whether all of it could be installed."""
    target = root / peer.name
    if target.is_symlink():
        target.unlink()
    shutil.rmtree(target, ignore_errors=True)
    python = target / "bin" / "python"
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}

    def step(*command: str) -> bool:
        return subprocess.run([uv, *command], env=environment, check=False).returncode == 0

    install = ("pip", "install", "-q", "--python", str(python))
    done = step("venv", "-q", "--python", sys.executable, str(target)) and step(*install, *peer.requirements)
    if done and peer.without_dependencies:
        done = step(*install, "--no-deps", *peer.without_dependencies)
    if done:
        (target / STAMP).write_text(peer.stamp)
    else:
        shutil.rmtree(target, ignore_errors=True)
    return done


def find_uv() -> str:
    """Return the uv beside this interpreter, or the one on PATH."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise SystemExit("error: uv is needed to create the peers\n\nhint: run `make setup` first")
    return found


def main() -> None:
    """Parse the command line; create or list the environments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="only say what is there")
    options = parser.parse_args()
    root = peers_root()
    root.mkdir(parents=True, exist_ok=True)
    failed = []
    for peer in PEERS:
        ready = is_ready(peer, root)
        if options.list or ready:
            print(f"peer {peer.name}: {'ready' if ready else 'missing'}", flush=True)
            continue
        print(f"peer {peer.name}: installing ...", flush=True)
        started = time.monotonic()
        if create(peer, root, find_uv()):
            print(f"peer {peer.name}: ready ({time.monotonic() - started:.0f} s)", flush=True)
        elif peer.optional:
            print(
                f"peer {peer.name}: cannot be had from the package index now; its tests are left out",
                flush=True,
            )
        else:
            failed.append(peer.name)
    if failed:
        raise SystemExit(f"error: could not install {', '.join(failed)} (see the lines above)")


if __name__ == "__main__":
    main()
