"""Writes a model of the serving benchmark: `python serving_models.py FOLDER sklearn|mlflow|onnx|mlserver COPIES`.

Runs in the environment that the model is to be served from. The model is the same in all of them: gradient boosting,
100 trees, 30 features. `rows.json` holds 100 rows, and what the model says to them.
"""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from pathlib import Path
from typing import Any

FEATURES, TREES, ROWS = 30, 100, 100


def main() -> None:
    folder, kind, copies = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    numpy, datasets, ensemble = map(importlib.import_module, ("numpy", "sklearn.datasets", "sklearn.ensemble"))
    values, labels = datasets.make_classification(2_000, FEATURES, n_informative=12, random_state=7)
    model = ensemble.GradientBoostingClassifier(n_estimators=TREES, random_state=7).fit(values.round(4), labels)
    columns = [f"f{number}" for number in range(FEATURES)]
    model.feature_names_in_ = numpy.array(columns, dtype=object)  # as if it had been trained with a table
    rows = values.round(4)[:ROWS]
    for number in range(copies):
        place = folder / str(number)
        place.mkdir(parents=True)
        _KINDS[kind](model, rows, place)
        (place / "model.pkl").write_bytes(pickle.dumps(model))
        example = {"columns": columns, "data": rows[:1].tolist()}
        (place / "example.json").write_text(json.dumps({"dataframe_split": example}))
    told = {"columns": columns, "rows": rows.tolist(), "labels": model.predict(rows).tolist()}
    (folder / "rows.json").write_text(json.dumps(told))


def mlflow(model: Any, rows: Any, place: Path) -> None:
    """As MLflow serves it: with a signature, and without."""
    if place.name != "0":
        return
    library = importlib.import_module("mlflow")
    library.set_tracking_uri(f"sqlite:///{place / 'mlflow.db'}")
    settings = {"pip_requirements": ["mlflow", "scikit-learn"], "serialization_format": "pickle"}
    table = importlib.import_module("pandas").DataFrame(rows, columns=model.feature_names_in_)
    signature = library.models.infer_signature(table, model.predict(table))
    library.sklearn.save_model(model, place / "signed", signature=signature, **settings)
    library.sklearn.save_model(model, place / "unsigned", **settings)


def onnx(model: Any, rows: Any, place: Path) -> None:
    """One output, the label, as scikit-learn answers it."""
    skl2onnx = importlib.import_module("skl2onnx")
    types = [("x", skl2onnx.common.data_types.FloatTensorType([None, FEATURES]))]
    graph = skl2onnx.to_onnx(
        model, initial_types=types, options={"zipmap": False}, target_opset={"": 19, "ai.onnx.ml": 3}
    )
    chosen = importlib.import_module("skl2onnx.helpers.onnx_helper").select_model_inputs_outputs(
        graph, outputs=["label"]
    )
    (place / "model.onnx").write_bytes(chosen.SerializeToString())


def mlserver(model: Any, _rows: Any, place: Path) -> None:
    """As MLServer's runtime for scikit-learn loads it."""
    importlib.import_module("joblib").dump(model, place / "model.joblib")
    settings = {
        "name": f"m{place.name}",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib"},
    }
    (place / "model-settings.json").write_text(json.dumps(settings))


def sklearn(_model: Any, _rows: Any, _place: Path) -> None:
    """Nothing beside the pickle."""


_KINDS = {"sklearn": sklearn, "mlflow": mlflow, "onnx": onnx, "mlserver": mlserver}

if __name__ == "__main__":
    main()
