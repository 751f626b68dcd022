"""The model repository extension of the Open Inference Protocol, and what the protocol asks about models.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_model_repository.html

What is served is the control plane's to say. So `load` brings a version that sleeps, or whose process has ended, back
into its process now, and `unload` takes one out only where the next request brings it back.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mlwright.kernel.errors import Conflict, Invalid
from mlwright.serving.host.endpoints import Endpoint
from mlwright.serving.host.hosted import Hosted, metadata, named_version

#: Raises Unauthenticated or Denied for who may not use an endpoint, by the headers of the request.
Admit = Callable[[Endpoint, Mapping[bytes, bytes]], object]


class Repository:
    """Args:
    hosted: what is served.
    admit: who may change what is loaded.
    """

    def __init__(self, hosted: Hosted, admit: Admit) -> None:
        self._hosted = hosted
        self._admit = admit

    def server(self) -> dict[str, Any]:
        """What this is."""
        return {"name": "mlwright", "version": "2", "extensions": ["binary_tensor_data", "model_repository"]}

    def ready(self) -> bool:
        """Whether all endpoints answer."""
        return all(endpoint.stable.is_ready for endpoint in self._hosted.endpoints.values())

    def is_ready(self, name: str, version: str) -> bool:
        """Whether a version answers. Raises NotFound."""
        return named_version(self._hosted.endpoint(name), version).is_ready

    def metadata(self, name: str, version: str) -> dict[str, Any]:
        """Inputs and outputs of a version. Raises NotFound."""
        return metadata(self._hosted.endpoint(name), version)

    def index(self, *, only_ready: bool) -> list[dict[str, str]]:
        """All versions that get requests, or wait to."""
        found = [
            _indexed(endpoint, number)
            for _, endpoint in sorted(self._hosted.endpoints.items())
            for number in sorted(endpoint.versions)
        ]
        return [each for each in found if each["state"] == "READY" or not only_ready]

    async def load(self, name: str, parameters: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> None:
        """Load the version that serves, if it is not. Raises NotFound, Invalid, Unavailable and what `admit` does."""
        endpoint = self._hosted.endpoint(name)
        self._admit(endpoint, headers)
        if parameters:
            raise Invalid(
                f"a model is loaded without parameters, not with {sorted(parameters)}",
                path="parameters",
                hint="register another version and deploy it",
            )
        await endpoint.stable.load()

    def unload(self, name: str, headers: Mapping[bytes, bytes]) -> None:
        """Take a version that wakes by itself out of its processes. Raises NotFound, Conflict and what `admit` does."""
        endpoint = self._hosted.endpoint(name)
        self._admit(endpoint, headers)
        if endpoint.served.scaling.min:
            raise Conflict(
                f"the endpoint {name!r} is to answer at once, and is not unloaded",
                path="endpoint",
                hint="set scaling.min to 0, or delete the endpoint",
            )
        if not endpoint.stable.is_quiet:
            raise Conflict(f"the endpoint {name!r} is answering requests", path="endpoint", hint="try again later")
        endpoint.stable.scale(0)


def _indexed(endpoint: Endpoint, number: int) -> dict[str, str]:
    version = endpoint.versions[number]
    state, reason = ("READY", "") if version.loaded else ("UNAVAILABLE", version.problem or "it is not loaded")
    if version.is_ready and not version.loaded:
        reason = "it is loaded with the next request"
    return {
        "name": endpoint.served.name,
        "version": str(version.revision.version),
        "state": state,
        "reason": endpoint.tripped.get(number, reason),
    }
