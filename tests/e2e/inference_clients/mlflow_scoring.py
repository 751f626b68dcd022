"""What MLflow's clients get from a host: `mlflow_scoring.py HTTP_PORT`, with the interpreter of its peer."""

import sys

import numpy as np
import pandas as pd
import requests
from mlflow.deployments import PredictionsResponse, get_deploy_client
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

TABLE = pd.DataFrame([[3.0, 2.0], [5.0, 4.0]], columns=["y", "x"])
SUMS = [5.0, 9.0]


def main() -> None:
    """All four forms, tables as text, and the client of deployments."""
    port = int(sys.argv[1])
    scoring = ScoringServerClient("127.0.0.1", port)
    scoring.wait_server_ready(5)
    assert scoring.get_version()
    assert scoring.invoke(TABLE).get_predictions("ndarray").tolist() == SUMS
    assert scoring.invoke(TABLE).get_predictions()[0].tolist() == SUMS
    assert scoring.invoke(TABLE[["x", "y"]].to_numpy()).get_predictions("ndarray").tolist() == SUMS
    missing = TABLE.assign(x=[2.0, float("nan")])  # its client writes NaN
    found = scoring.invoke(missing).get_predictions("ndarray", float)
    assert found[0] == SUMS[0]
    assert np.isnan(found[1])
    site = f"http://127.0.0.1:{port}"
    forms = {
        "dataframe_split": TABLE.to_dict(orient="split"),
        "dataframe_records": TABLE.to_dict(orient="records"),
        "instances": TABLE[["x", "y"]].to_numpy().tolist(),
        "inputs": TABLE.to_dict(orient="list"),
    }
    client = get_deploy_client(site)
    for form, data in forms.items():
        answer = requests.post(f"{site}/invocations", json={form: data}, timeout=10)
        assert PredictionsResponse.from_json(answer.text)["predictions"] == SUMS, (form, answer.text)
        assert client.predict(endpoint="toy", inputs={form: data}) == {"predictions": SUMS}
    answer = requests.post(
        f"{site}/invocations", TABLE.to_csv(index=False), headers={"Content-Type": "text/csv"}, timeout=10
    )
    assert answer.json() == {"predictions": SUMS}, answer.text
    assert [each.name for each in client.list_endpoints()] == ["toy"]
    assert client.get_endpoint("toy").endpoint_url == f"{site}/endpoints/toy/invocations"
    said = ""
    try:
        client.predict(endpoint="toy", inputs={"dataframe_split": {"columns": ["x"], "data": [[1]]}})
    except (MlflowException, requests.HTTPError) as error:
        said = str(error)
    assert "missing inputs ['y']" in said, said


if __name__ == "__main__":
    main()
