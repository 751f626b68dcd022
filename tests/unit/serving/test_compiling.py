"""Models of real libraries compiled to ONNX by the real converters: what answers the same is taken, nothing else."""

import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlwright.compute.spec import Environment, Limits
from mlwright.kernel.errors import Invalid
from mlwright.serving.compiling import Compiled, Refused, compile_model
from mlwright.serving.images.building import Builder, Source, Wishes
from mlwright.serving.running import running
from tests.components import peer_python
from tests.unit.serving.hosting import site

pytestmark = [pytest.mark.component, pytest.mark.xdist_group("compiling")]

#: Saves models as MLflow does, which need not be there for that.
_SAVE = """
import json, pickle, sys
from pathlib import Path
import numpy as np, pandas as pd, xgboost
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

random = np.random.default_rng(0)
X = pd.DataFrame(random.normal(size=(400, 4)), columns=["a b", "c", "d", "e"])
y = (X["a b"] + X["c"] ** 2 > 1).astype(int)
T = X.assign(f=random.choice(["x", "y", "z"], 400), g=random.integers(0, 9, 400))[["a b", "c", "f", "g"]]
late = np.where((T["a b"] > 0) ^ (T["f"] == "x"), "late", "on time")
mixed = ColumnTransformer([("f", OneHotEncoder(), ["f"]), ("n", StandardScaler(), ["a b", "c", "g"])])

def save(name, model, inputs, flavor="sklearn", predict="predict"):
    folder = Path(sys.argv[1], name)
    folder.mkdir()
    kinds = {"f": "double", "i": "long", "O": "string"}
    columns = [{"type": kinds[inputs[each].dtype.kind], "name": each, "required": True} for each in inputs]
    if flavor == "xgboost":
        model.save_model(folder / "model.ubj")
        options = {"data": "model.ubj", "model_class": "xgboost.sklearn.XGBClassifier"}
    else:
        (folder / "model.pkl").write_bytes(pickle.dumps(model))
        options = {"pickled_model": "model.pkl"}
    example = {"columns": list(inputs), "data": inputs.head(40).to_numpy().tolist()}
    (folder / "example.json").write_text(json.dumps({"dataframe_split": example}))
    described = {
        "flavors": {flavor: options, "python_function": {"predict_fn": predict}},
        "saved_input_example_info": {"artifact_path": "example.json"},
        "signature": {"inputs": json.dumps(columns)},
    }
    (folder / "MLmodel").write_text(json.dumps(described))

save("boosted", HistGradientBoostingClassifier(max_iter=20).fit(X, y), X)
save("mixed", make_pipeline(mixed, LogisticRegression()).fit(T, late), T)
save("linear", LinearRegression().fit(X, X["c"] * 1e6), X)
save("chances", RandomForestClassifier(20).fit(X, y), X, predict="predict_proba")
save("function", make_pipeline(FunctionTransformer(np.exp), LogisticRegression()).fit(X, y), X)
save("xgb", xgboost.XGBClassifier(n_estimators=20).fit(X, y), X, "xgboost")
# What makes the difference is lost where numbers have seven digits.
save("digits", make_pipeline(StandardScaler(), LogisticRegression()).fit(X + 1e9, y), X + 1e9)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([str(peer_python("onnx-converters")), "-c", _SAVE, str(folder)], check=True, capture_output=True)
    return folder


def compiled(saved: Path, name: str, target: Path, rows: tuple[Path, ...] = (), **options: Any) -> Compiled | Refused:
    target.mkdir()
    model, environment = saved / name, Environment(str(peer_python("onnx-converters").parent.parent), "", "", [])
    return compile_model(model, running(model), environment, rows, target, perturbed=1_000, **options)


@pytest.mark.parametrize("name", ["boosted", "chances", "xgb"])
def test_what_answers_the_same_is_compiled(saved: Path, name: str, tmp_path: Path) -> None:
    found = compiled(saved, name, tmp_path / "target")
    assert isinstance(found, Compiled), found.report.reason
    report = found.report
    assert report.rows == {"stored": 40, "perturbed": 1_000}
    assert {each.mismatches for each in report.compared} == {0}
    assert [each.of for each in report.compared] == ["answers"] * 2 + ["probabilities"] * 2 * (name != "chances")
    assert {"skl2onnx", "onnxruntime", "scikit-learn", "python"} <= report.versions.keys()
    assert json.loads((tmp_path / "target" / "report.json").read_bytes())["digest"] == report.digest
    assert sorted(path.name for path in found.folder.iterdir()) == ["model.onnx", "report.json"]


def test_the_serving_host_gives_the_same_answers_from_the_graph(saved: Path, tmp_path: Path) -> None:
    model, how = saved / "mixed", running(saved / "mixed")
    found = compiled(saved, "mixed", tmp_path / "target")
    assert isinstance(found, Compiled), found.report.reason
    assert found.report.inputs == "columns"
    own = {
        "number": 1, "model": "toy", "version": 1, "folder": str(model), "python": str(peer_python("onnx-converters")),
        "loader": how.loader, "options": how.options, "generic": how.generic, "signature": how.signature,
        "example": str(model / how.example),
    }  # fmt: skip
    graph = {**own, "number": 2, "version": 2, "folder": str(found.folder), "loader": "onnx", "options": found.options}
    asked = (model / how.example).read_bytes()
    with site(tmp_path, own, graph) as host:
        before = host.post("/invocations", asked, content_type="application/json")
        host.tell(stable=2)
        after = host.post("/invocations", asked, content_type="application/json")
    assert (before.status, after.status, after.headers["x-mlwright-version"]) == (200, 200, "2")
    assert before.document == after.document
    assert {"late", "on time"} == set(after.document["predictions"])


def test_what_answers_otherwise_is_refused_with_the_numbers(saved: Path, tmp_path: Path) -> None:
    labels = compiled(saved, "digits", tmp_path / "digits")
    numbers = compiled(saved, "linear", tmp_path / "numbers", tolerance=1e-12)
    for refused in (labels, numbers):
        assert isinstance(refused, Refused)
        worst = max(refused.report.compared, key=lambda each: each.mismatches)
        assert f"{worst.mismatches} of {worst.values} {worst.of} (by " in refused.report.reason
    assert sorted(path.name for path in (tmp_path / "digits").iterdir()) == ["report.json"]


def test_what_cannot_be_proved_is_refused(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("c,d,e\n1,2,3\n")
    lacking = compiled(saved, "linear", tmp_path / "lacking", (tmp_path / "rows.csv",))
    assert lacking.report.reason == "rows.csv lacks values of a b"
    slow = compiled(saved, "linear", tmp_path / "slow", limits=Limits(0.2))
    assert slow.report.reason.startswith("it took longer than 0.2 s")
    assert all(isinstance(each, Refused) for each in (lacking, slow))
    model = saved / "linear"
    how = running(model)._replace(loader="mlflow")
    (tmp_path / "other").mkdir()
    other = compile_model(model, how, Environment("", "", "", []), (), tmp_path / "other")
    assert other.report.reason == "models that are loaded by mlflow are not compiled"


class Converters:
    """Environments: the one that compiles is real; of the one that serves, an image gets a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[list[str]] = []

    @contextmanager
    def ready(self, model: Path, limits: Limits, *, builds: bool = False, exact: bool = False) -> Iterator[Environment]:
        assert limits.seconds > 0
        assert (builds, exact) == (False, False)
        peer = peer_python("onnx-converters")
        self.asked.append((model / "requirements.txt").read_text().splitlines())
        found = subprocess.run([str(peer), "-c", "import sys; print(*sys.version_info[:3], sep='.')"], check=True,
                               capture_output=True, text=True).stdout.strip()  # fmt: skip
        minor = found.rpartition(".")[0]
        (self.folder / "bin").mkdir(parents=True, exist_ok=True)
        (self.folder / "lib" / f"python{minor}" / "site-packages").mkdir(parents=True, exist_ok=True)
        if not (self.folder / "bin" / "python").exists():
            (self.folder / "bin" / "python").symlink_to(peer)
        compiles = any(line.startswith("skl2onnx") for line in self.asked[-1])
        yield Environment(str(peer.parent.parent if compiles else self.folder), found, "", [])


def test_an_image_of_a_graph_has_its_proof_and_little_else(saved: Path, tmp_path: Path) -> None:
    model, ground = saved / "mixed", tmp_path / "ground" / "usr" / "bin"
    (model / "requirements.txt").write_text("mlflow\nscikit-learn\n")
    ground.mkdir(parents=True)
    for minor in range(11, 16):
        (ground / f"python3.{minor}").write_bytes(b"")
    source = Source("mixed", "default", 1, f"sha256:{'c' * 64}", model, {})
    wishes = Wishes(base=str(tmp_path / "ground"), onnx=True)
    digests, environments = [], Converters(tmp_path / "environment")
    for cache in ("one", "one", "two"):
        built = Builder(tmp_path / cache, environments, lambda _: None).build(source, wishes)
        digests.append(built.image.digest)
    assert len(set(digests)) == 1
    compiles, serves, *_ = environments.asked
    assert compiles == ["scikit-learn", "pandas", "onnx", "onnxruntime", "protobuf<7", "skl2onnx"]
    assert [line.partition("==")[0] for line in serves] == ["numpy", "onnxruntime", "pandas"]
    assert len(environments.asked) == 6  # the second time all of it was known
    layer = built.image.layers[-2]
    with tarfile.open(built.layers.blob(layer.digest)) as tar:
        names = {each.name for each in tar if each.isfile()}
        proof = json.loads(tar.extractfile("opt/model/report.json").read())  # type: ignore[union-attr]
    assert names == {"opt/model/model.onnx", "opt/model/report.json", "opt/model/example.json"}
    assert (proof["verdict"], proof["rows"]["stored"]) == ("same", 40)
    refused = Source("function", "default", 1, f"sha256:{'d' * 64}", saved / "function", {})
    (saved / "function" / "requirements.txt").write_text("scikit-learn\n")
    with pytest.raises(Invalid, match=r"it cannot be converted: .*FunctionTransformer is not supported"):
        Builder(tmp_path / "one", environments, lambda _: None).build(refused, wishes)
