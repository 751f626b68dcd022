"""What NVIDIA's client gets from a host: `triton.py HTTP_PORT GRPC_PORT`, with the interpreter of its peer."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

ROWS = np.array([[2.0, 3.0], [4.0, 5.0]])
SUMS = [5.0, 9.0]


def refused(call: Callable[[], Any], *wanted: str) -> None:
    """The call ends with one of these statuses, and with words of ours."""
    said: InferenceServerException | None = None
    try:
        call()
    except InferenceServerException as error:
        said = error
    assert said is not None, wanted
    assert said.status() in wanted, said
    assert said.message(), said


def about(client: Any) -> None:
    """Everything but inference; answers are documents of JSON over HTTP, messages over gRPC."""
    over_http = isinstance(client, tritonclient.http.InferenceServerClient)
    as_json: dict[str, Any] = {} if over_http else {"as_json": True}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("toy")
    assert client.is_model_ready("toy", "1")
    assert "model_repository" in client.get_server_metadata(**as_json)["extensions"]
    told = client.get_model_metadata("toy", **as_json)
    assert [(each["name"], each["datatype"]) for each in told["inputs"]] == [("x", "FP64"), ("y", "FP64")]
    assert [each["name"] for each in told["outputs"]] == ["predictions"]
    index = client.get_model_repository_index(**as_json)
    models = index if over_http else index["models"]
    assert [(each["name"], each["version"]) for each in models] == [("toy", "1"), ("toy", "2")]
    client.load_model("toy")
    refused(lambda: client.unload_model("toy"), "409", "StatusCode.FAILED_PRECONDITION")
    refused(lambda: client.load_model("toy", config="{}"), "400", "StatusCode.INVALID_ARGUMENT")
    refused(lambda: client.get_model_metadata("none"), "404", "StatusCode.NOT_FOUND")


def asked(module: Any, client: Any, *, binary: bool | None) -> None:
    """Inference: all of the ways in which values travel."""
    how: dict[str, Any] = {} if binary is None else {"binary_data": binary}

    def tensor(name: str, rows: np.ndarray, datatype: str) -> Any:
        found = module.InferInput(name, list(rows.shape), datatype)
        found.set_data_from_numpy(rows, **how)
        return found

    whole = [tensor("rows", ROWS, "FP64")]
    outputs = [module.InferRequestedOutput("predictions", **how)]
    for version, more in (("", 0.0), ("1", 0.0), ("2", 100.0)):
        answer = client.infer("toy", whole, version, outputs=outputs, request_id="id 7")
        assert answer.as_numpy("predictions").tolist() == [each + more for each in SUMS]
    columns = [tensor("y", ROWS[:, 1:].astype("float32"), "FP32"), tensor("x", ROWS[:, :1], "FP64")]
    assert client.infer("toy", columns).as_numpy("predictions").tolist() == SUMS
    said = client.infer("toy", whole, request_id="id 7").get_response()
    assert (said["id"] if isinstance(said, dict) else said.id) == "id 7"
    invalid = ("400", "StatusCode.INVALID_ARGUMENT")
    refused(lambda: client.infer("toy", [tensor("rows", ROWS[:, :1], "FP64")]), *invalid)
    refused(lambda: client.infer("toy", [*columns, columns[0]]), *invalid)
    refused(lambda: client.infer("toy", whole, outputs=[module.InferRequestedOutput("none")]), *invalid)
    refused(lambda: client.infer("none", whole), "404", "StatusCode.NOT_FOUND")
    refused(lambda: client.infer("toy", whole, "9"), "404", "StatusCode.NOT_FOUND")
    text = np.array([["a", "é"]], dtype=object)
    refused(lambda: client.infer("toy", [tensor("rows", text, "BYTES")]), *invalid)


def main() -> None:
    """Ask over both."""
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{sys.argv[1]}") as http:
        about(http)
        asked(tritonclient.http, http, binary=True)
        asked(tritonclient.http, http, binary=False)
        packed = [tritonclient.http.InferInput("rows", [2, 2], "FP64")]
        packed[0].set_data_from_numpy(ROWS)
        ways = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}
        assert http.infer("toy", packed, **ways).as_numpy("predictions").tolist() == SUMS
        ways = {"request_compression_algorithm": "deflate"}
        assert http.infer("toy", packed, **ways).as_numpy("predictions").tolist() == SUMS
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{sys.argv[2]}") as grpc:
        about(grpc)
        asked(tritonclient.grpc, grpc, binary=None)
        slow = tritonclient.grpc.InferInput("rows", [1, 2], "FP64")
        slow.set_data_from_numpy(np.array([[1.0, 0.0]]))
        refused(lambda: grpc.infer("toy", [slow], client_timeout=0.05), "StatusCode.DEADLINE_EXCEEDED")
        fine = grpc.infer("toy", [slow], compression_algorithm="gzip")
        assert fine.as_numpy("predictions").tolist() == [1.0]


if __name__ == "__main__":
    main()
