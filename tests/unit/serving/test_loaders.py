"""Which models of scikit-learn get a matrix instead of a table: only those that answer the same."""

import json
import subprocess

from mlwright.serving import programs
from tests import components

#: Asks each model with a table and, where it is said to look at the order only, with a matrix.
ASK = """
import json, sys, warnings
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
import numpy, pandas
from modelworker.loaders import _arrays_are_no_tables, _by_order
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

class Own(LogisticRegression):
    pass

table = pandas.DataFrame(numpy.random.default_rng(7).normal(size=(80, 3)), columns=list("abc"))
labels = (table["a"] + table["c"] > 0).astype(int)
models = {
    "boosting": GradientBoostingClassifier(n_estimators=5),
    "histogram": HistGradientBoostingClassifier(max_iter=5),
    "scaled": make_pipeline(StandardScaler(), LogisticRegression()),
    "columns": make_pipeline(make_column_transformer((StandardScaler(), ["c", "a"])), LogisticRegression()),
    "function": make_pipeline(FunctionTransformer(lambda given: given * 2), LogisticRegression()),
    "tables": make_pipeline(StandardScaler().set_output(transform="pandas"), LogisticRegression()),
    "voting": VotingClassifier([("one", LogisticRegression())]),
    "own": Own(),
}
found, answers = {}, {}
for name, model in models.items():
    model.fit(table, labels)
    answers[name] = model.predict(table)
_arrays_are_no_tables()
for name, model in models.items():
    found[name] = _by_order(model)
    assert (model.predict(table) == answers[name]).all()
    if found[name]:
        assert (model.predict(table.to_numpy()) == answers[name]).all()
print(json.dumps(found))
"""


def test_a_matrix_is_for_plain_estimators_only() -> None:
    python = components.mlflow_python("3.17.2")
    command = [str(python), "-c", ASK, programs.__path__[0]]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    plain = {name for name, by_order in json.loads(said).items() if by_order}
    assert plain == {"boosting", "histogram", "scaled"}
