"""Models as MLflow saves them, one of each flavor, answer in a serving host as they do in MLflow."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from mlwright.serving.running import running
from tests import components
from tests.unit.serving.hosting import Site, site

ROWS = 5
#: Saves a model of each flavor below a folder, and prints rows and what MLflow answers to them.
SAVE = """
import json, logging, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
import lightgbm, mlflow, numpy, pandas, xgboost
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

folder, rows = Path(sys.argv[1]), int(sys.argv[2])
(folder / "helper.py").write_text("def doubled(column):\\n    return column * 2\\n")
sys.path.insert(0, str(folder))
table = pandas.DataFrame(numpy.random.default_rng(7).normal(size=(200, 3)), columns=list("abc"))
labels = (table["a"] + table["c"] > 0).astype(int)

class Own(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        from helper import doubled
        return doubled(model_input["b"]) + 1

logistic = LogisticRegression().fit(table, labels)
few = {"n_estimators": 5}
saved = {
    "sklearn-skops": (mlflow.sklearn, {"sk_model": logistic, "serialization_format": "skops"}),
    "sklearn-cloudpickle": (mlflow.sklearn, {"sk_model": logistic, "serialization_format": "cloudpickle"}),
    "sklearn-shares": (mlflow.sklearn, {"sk_model": logistic, "pyfunc_predict_fn": "predict_proba"}),
    "xgboost": (mlflow.xgboost, {"xgb_model": xgboost.XGBClassifier(**few).fit(table, labels)}),
    "xgboost-booster": (mlflow.xgboost, {"xgb_model": xgboost.train({}, xgboost.DMatrix(table, labels), 5)}),
    "lightgbm": (mlflow.lightgbm, {"lgb_model": lightgbm.LGBMRegressor(verbose=-1, **few).fit(table, labels)}),
    "lightgbm-booster": (
        mlflow.lightgbm, {"lgb_model": lightgbm.train({"verbose": -1}, lightgbm.Dataset(table, labels), 5)}
    ),
    "own": (mlflow.pyfunc, {"python_model": Own(), "code_paths": [str(folder / "helper.py")]}),
}
answers = {}
for name, (flavor, given) in saved.items():
    path = str(folder / name)
    shown = {"signature": infer_signature(table), "input_example": table.head(2), "pip_requirements": []}
    flavor.save_model(path=path, **shown, **given)
    answers[name] = numpy.asarray(mlflow.pyfunc.load_model(path).predict(table.head(rows))).tolist()
asked = {"dataframe_split": table.head(rows).to_dict(orient="split", index=False)}
print(json.dumps({"asked": dict.fromkeys(answers, asked), "answers": answers}))
"""

#: The same of models of PyTorch: both ways to save them, and inputs that are an array or a table.
SAVE_TORCH = """
import json, logging, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
import mlflow, numpy, pandas, torch
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

folder, rows = Path(sys.argv[1]), int(sys.argv[2])
torch.manual_seed(7)
network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
values = numpy.random.default_rng(7).normal(size=(rows, 3)).astype("float32")
table = pandas.DataFrame(values, columns=list("abc"))
array = ModelSignature(Schema([TensorSpec(numpy.dtype("float32"), (-1, 3))]))
columns = ModelSignature(Schema([ColSpec("float", name) for name in "abc"]))
saved = {"pt2": (array, values, "pt2"), "pickle": (array, values, "pickle"), "table": (columns, table, "pickle")}
answers = {}
for name, (signature, given, form) in saved.items():
    shown = {"signature": signature, "input_example": given[:2], "pip_requirements": []}
    mlflow.pytorch.save_model(network, str(folder / name), serialization_format=form, **shown)
    found = mlflow.pyfunc.load_model(str(folder / name)).predict(given)
    answers[name] = numpy.asarray(found).tolist()
asked = {name: {"inputs": values.tolist()} for name in ("pt2", "pickle")}
asked["table"] = {"dataframe_split": table.to_dict(orient="split", index=False)}
print(json.dumps({"asked": asked, "answers": answers}))
"""


def revision(folder: Path, python: Path) -> dict[str, Any]:
    found = running(folder)
    return {
        "number": 1, "model": folder.name, "version": 1, "folder": str(folder), "python": str(python),
        "loader": found.loader, "options": found.options, "generic": found.generic, "signature": found.signature,
        "example": str(folder / found.example),
    }  # fmt: skip


def check(folder: Path, python: Path, save: str) -> dict[str, str]:
    """Save models, have a host serve all of them, and compare its answers with MLflow's; the loader of each model."""
    command = [str(python), "-c", save, str(folder), str(ROWS)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    names = list(told["answers"])

    def others(host: Site) -> None:
        for name in names[1:]:
            host.others.append(
                {"name": name, "project": "default", "stable": 1, "revisions": [revision(folder / name, python)]}
            )

    (folder / "host").mkdir()
    with site(folder / "host", revision(folder / names[0], python), name=names[0], configure=others) as host:
        for name, answer in told["answers"].items():
            said = host.post(f"/endpoints/{name}/invocations", json.dumps(told["asked"][name]).encode())
            assert said.status == 200, (name, said.body)
            np.testing.assert_allclose(said.document["predictions"], answer, rtol=1e-6, err_msg=name)
    return {name: running(folder / name).loader for name in names}


def test_each_flavor_answers_as_in_mlflow(tmp_path: Path) -> None:
    loaders = check(tmp_path, components.mlflow_python("3.17.2"), SAVE)
    assert loaders == {name: "mlflow" if name == "own" else name.partition("-")[0] for name in loaders}


def test_torch_answers_as_in_mlflow(tmp_path: Path) -> None:
    assert set(check(tmp_path, components.peer_python("torch"), SAVE_TORCH).values()) == {"pytorch"}
