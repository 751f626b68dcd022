"""What KServe's client gets from a host: `kserve_sdk.py HTTP_PORT GRPC_PORT`, with the interpreter of its peer."""

import asyncio
import sys
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.grpc.grpc_predict_v2_pb2 import RepositoryModelLoadRequest, RepositoryModelUnloadRequest

ROWS = np.array([[2.0, 3.0], [4.0, 5.0]])
SUMS = [5.0, 9.0]


def request(*, binary: bool, model: str = "toy") -> InferRequest:
    """The rows as one input."""
    rows = InferInput("rows", [2, 2], "FP64")
    rows.set_data_from_numpy(ROWS, binary_data=binary)
    return InferRequest(model, [rows], request_id="id 7")


async def over_http(port: str) -> None:
    """V1 and V2, as JSON and in binary."""
    site = f"http://127.0.0.1:{port}"
    v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
    assert await v1.infer(site, {"instances": ROWS.tolist()}, model_name="toy") == {"predictions": SUMS}
    assert await v1.is_model_ready(site, "toy")
    assert await v1.is_server_live(site)
    v2 = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await v2.is_server_ready(site)
    assert await v2.is_server_live(site)
    assert await v2.is_model_ready(site, "toy")
    for binary in (False, True):
        answer: Any = await v2.infer(site, request(binary=binary), model_name="toy")
        assert answer.outputs[0].as_numpy().tolist() == SUMS
        assert answer.id == "id 7"
    said = ""
    try:
        await v2.infer(site, request(binary=True, model="none"), model_name="none")
    except httpx.HTTPStatusError as error:
        said = str(error)
    assert "there is no endpoint 'none'" in said, said
    assert "404" in said, said
    await v1.close()
    await v2.close()


async def over_grpc(port: str) -> None:
    """The same over gRPC; values travel as lists of their type, or raw."""
    async with InferenceGRPCClient(f"127.0.0.1:{port}") as client:
        assert await client.is_server_ready()
        assert await client.is_server_live()
        assert await client.is_model_ready("toy")
        for binary in (False, True):
            answer = await client.infer(request(binary=binary))
            assert answer.outputs[0].as_numpy().tolist() == SUMS
            assert answer.id == "id 7"
        stub: Any = client._client_stub
        loaded = await stub.RepositoryModelLoad(RepositoryModelLoadRequest(model_name="toy"))
        assert (loaded.model_name, loaded.isLoaded) == ("toy", True)
        said = ""
        try:
            await stub.RepositoryModelUnload(RepositoryModelUnloadRequest(model_name="toy"))
        except grpc.RpcError as error:
            said = str(error)
        assert "FAILED_PRECONDITION" in said, said


async def main() -> None:
    """Ask over both."""
    await over_http(sys.argv[1])
    await over_grpc(sys.argv[2])


if __name__ == "__main__":
    asyncio.run(main())
