"""Asks models for predictions on the first one's input example. Runs in an environment with MLflow, without ours.

    python predict_host.py REQUEST

The request is JSON: `models` are folders, `answer` is the file for the predictions, or for why there are none.
"""

import importlib
import json
import math
import sys
from pathlib import Path
from typing import Any

sys.path[:] = sys.path[1:]  # not the folder of this file


def plain(value: Any) -> Any:
    """Tables and arrays as lists of numbers and texts."""
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value = value.to_dict(orient="list")
    for name in ("tolist", "item"):
        if not isinstance(value, (list, dict, str, bytes)) and hasattr(value, name):
            value = getattr(value, name)()
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (int, float, str, bool)) or value is None else str(value)


def predictions(folders: list[str]) -> dict[str, Any]:
    """What each says of the example."""
    models, pyfunc = importlib.import_module("mlflow.models"), importlib.import_module("mlflow.pyfunc")
    example = models.Model.load(folders[0]).load_input_example(folders[0])
    if example is None:
        return {"problem": "it has no input example"}
    return {"predictions": [plain(pyfunc.load_model(folder).predict(example)) for folder in folders]}


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    try:
        found = predictions(asked["models"])
    except Exception as error:  # the boundary of a process: whatever a model raises is an answer
        found = {"problem": f"it cannot be asked ({type(error).__name__}: {error})"}
    Path(asked["answer"]).write_text(json.dumps(found))
