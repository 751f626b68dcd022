"""Writes the classes and functions of Keras whose settings hold no code, for the scanner.

    python -m tools.keras_names > src/mlwright/security/scanning/keras.txt

It runs in an environment with `keras` and a backend for it (`KERAS_BACKEND=numpy` needs jax).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

_PARTS = "layers initializers regularizers constraints activations losses metrics optimizers dtype_policies".split()
_MODELS = {"Sequential", "Functional", "Model", "DTypePolicy", "FloatDTypePolicy", "QuantizedDTypePolicy"}
_OTHER = {"SparseOptimizer"}
#: With code in their settings, or no part of a model.
_LEFT_OUT = set(
    """Lambda TorchModuleWrapper TFSMLayer JaxLayer FlaxLayer deserialize get serialize Layer Operation InputSpec
    Loss Metric Optimizer Initializer Regularizer Constraint""".split()
)


def public() -> Iterator[str]:
    """What the public modules have."""
    for part in (*_PARTS, "optimizers.schedules"):
        for name, value in vars(importlib.import_module(f"keras.{part}")).items():
            if not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
                yield name


def operations() -> Iterator[str]:
    """What arithmetic on symbolic tensors leaves in a model."""
    ops = importlib.import_module("keras.src.ops")
    base = importlib.import_module("keras.src.ops.operation").Operation
    for found in pkgutil.walk_packages(ops.__path__, "keras.src.ops."):
        if not found.name.endswith("_test"):
            values = vars(importlib.import_module(found.name)).items()
            yield from (name for name, value in values if inspect.isclass(value) and issubclass(value, base))


if __name__ == "__main__":
    print("\n".join(sorted({*public(), *operations(), *_MODELS, *_OTHER} - _LEFT_OUT)))
