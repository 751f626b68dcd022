"""How a version's files say that they can be loaded: the flavors in its description, MLmodel."""

from pathlib import Path
from typing import Any

import msgspec

from mlwright.kernel.errors import NoEnvironment

#: Flavors that are loaded by their own libraries, without MLflow.
NATIVE = ("sklearn", "skops", "xgboost", "lightgbm", "onnx")
#: The flavor that all others have beside their own.
GENERIC = "python_function"


def flavors(model: Path) -> dict[str, dict[str, Any]]:
    """The ways to load the model in a folder, each with its options. Raises NoEnvironment when it cannot be read."""
    try:
        document = msgspec.yaml.decode((model / "MLmodel").read_bytes())
    except (OSError, msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise NoEnvironment(f"the model's description (MLmodel) cannot be read: {str(error)[:200]}") from error
    found = document.get("flavors") if isinstance(document, dict) else None
    named = found.items() if isinstance(found, dict) else ()
    return {str(name): options for name, options in named if isinstance(options, dict)}


def has_mlflow(packages: list[str]) -> bool:
    """Whether MLflow is among the packages of an environment, each written as name==version."""
    return any(package.startswith(("mlflow==", "mlflow_skinny==")) for package in packages)
