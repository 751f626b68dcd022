"""A registry whose gates run models: real gates, real programs, a real uv; only the model's library is made here.

The library is called lightgbm, so that the host loads it without MLflow. What a model of it does is in its file.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlwright.compute.environments import Environments
from mlwright.kernel.database import Database
from mlwright.registry.gate_runner import GateRunner
from mlwright.registry.gates.spec import Check, Decision
from mlwright.registry.spec import ModelVersion
from tests.contract.test_gates import Gates, InDatabase
from tests.unit.compute.wheels import variables, wheel

LIBRARY = """
import json, os, subprocess, sys, time

def misbehave(how):
    if how == "hang": time.sleep(600)
    if how == "exit": os._exit(137)
    if how == "raise": raise ValueError("no such weights")
    if how == "flood":
        while True: os.write(1, b"x" * (1 << 20))
    if how == "fork":
        while True: os.fork()
    if how == "fill":
        for number in range(1 << 20):
            with open(f"model/{number}", "wb") as file: file.write(bytes(1 << 20))
    if how == "grow":
        kept = [b"1" * (1 << 20) for _ in range(1 << 10)]
        time.sleep(600)

def waits(folder):
    if folder is None: return
    with open(folder + "/ran", "a") as file: print("once", file=file)
    while not os.path.exists(folder + "/enough"): time.sleep(0.01)

class Booster:
    def __init__(self, model_file):
        with open(model_file) as file: self.does = json.load(file)
        misbehave(self.does.get("load"))

    def predict(self, rows):
        self.asked = getattr(self, "asked", 0) + 1
        if self.asked > self.does.get("dies_after", 1000): os._exit(1)
        misbehave(self.does.get("predict"))
        waits(self.does.get("waits"))
        time.sleep(self.does.get("seconds", 0))
        if "always" in self.does: return self.does["always"]
        weights = self.does["weights"]
        if any(value is None for row in rows for value in row) and self.does.get("strict"):
            raise ValueError("a value is missing")
        return [max(0.0, min(1.0, sum(w * (v or 0.0) for w, v in zip(weights, row)))) for row in rows]
"""
INPUTS = [{"type": "double", "name": "a", "required": True}, {"type": "double", "name": "b", "required": True}]
OUTPUTS = [{"type": "double", "required": True}]
EXAMPLE = {"dataframe_split": {"columns": ["a", "b"], "data": [[0.5, 0.0], [0.25, 0.5]]}}
#: What the model says of the example.
PREDICTIONS = [0.5, 0.25]


class ModelGates(Gates):
    """Gates of models of the library.

    Args:
        folder: for wheels and environments; those of an earlier test are used again.
        rooms: where gates work.
    """

    def __init__(self, database: Database, folder: Path, rooms: Path) -> None:
        super().__init__(database, rooms)
        self.rooms = rooms
        own = variables(folder / "wheels", folder / "cache")
        self.environments = Environments(folder / "environments", own)
        self.runner = GateRunner(database, InDatabase(), self.environments, rooms)

    def model_version(self, files: Mapping[str, bytes] | None = None, **does: Any) -> ModelVersion:
        """Register a model that does as it is told."""
        return self.register(self.logged(model(files, **does)))

    def decided(self, *asked: dict[str, Any], files: Mapping[str, bytes] | None = None, **does: Any) -> list[Decision]:
        """What the gates say of a new version."""
        self.policy(*asked)
        version = self.model_version(files, **does)
        self.run_all()
        return [each.decision for each in self.standings(version)]


def prepare_wheels(folder: Path) -> None:
    """Make the library, and an array library that does nothing."""
    wheel(folder / "wheels", "lightgbm", "1.0", {"lightgbm.py": LIBRARY})
    wheel(folder / "wheels", "numpy", "1.0", {"numpy.py": "def asarray(rows, dtype=None): return rows\n"})


def description(inputs: Sequence[object] = INPUTS, outputs: Sequence[object] = OUTPUTS) -> bytes:
    """An MLmodel with this signature."""
    signature = f"signature:\n  inputs: '{json.dumps(inputs)}'\n  outputs: '{json.dumps(outputs)}'\n"
    return b"flavors:\n  lightgbm: {lgb_version: '1.0', data: model.lgb}\n" + signature.encode()


def model(files: Mapping[str, bytes] | None = None, **does: Any) -> dict[str, bytes]:
    """The files of a model; those that are given replace them, and empty ones are left out."""
    found: dict[str, bytes] = {
        "MLmodel": description(),
        "model.lgb": json.dumps({"weights": [1.0, 0.0], **does}).encode(),
        "requirements.txt": b"lightgbm==1.0\nnumpy==1.0\n",
        "serving_input_example.json": json.dumps(EXAMPLE).encode(),
        **(files or {}),
    }
    return {path: content for path, content in found.items() if content}


def check(decision: Decision, name: str) -> Check:
    """The check of that name."""
    return next(each for each in decision.checks if each.name == name)
